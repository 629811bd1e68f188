-- Whether a user does not want a type over a channel, as Python decides it about preferences. A setting of the type
-- takes precedence over one of `*`, and a user who has neither wants everything.
-- A set of one row, so that Postgres makes it a part of the statement that asks.
CREATE FUNCTION is_opted_out_v1(of_tenant text, of_user text, of_channel text, of_type text)
RETURNS TABLE (opted_out boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT NOT COALESCE(
        (SELECT s.enabled FROM user_notification_settings s
         WHERE s.tenant = of_tenant AND s.user_id = of_user AND s.channel = of_channel AND s.type IN (of_type, '*')
         ORDER BY s.type = '*' LIMIT 1), true)
$$;
