-- Whether a user has opted out of a type over a channel, by the same rule as in Python. A setting for the type takes
-- precedence over one for `*`; a user who has neither wants everything.
-- It returns a set of one row, so that Postgres inlines it into the statement that calls it.
CREATE FUNCTION is_opted_out_v1(of_tenant text, of_user text, of_channel text, of_type text)
RETURNS TABLE (opted_out boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT NOT COALESCE(
        (SELECT s.enabled FROM user_notification_settings s
         WHERE s.tenant = of_tenant AND s.user_id = of_user AND s.channel = of_channel AND s.type IN (of_type, '*')
         ORDER BY s.type = '*' LIMIT 1), true)
$$;
