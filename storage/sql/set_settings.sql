-- Replace a user's opt-ins and opt-outs.
WITH given AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::boolean[]) AS t (type, channel, enabled)
), gone AS (
    DELETE FROM user_notification_settings s
    WHERE s.tenant = $1 AND s.user_id = $2
      AND NOT EXISTS (SELECT FROM given g WHERE g.type = s.type AND g.channel = s.channel)
)
INSERT INTO user_notification_settings AS s (tenant, user_id, type, channel, enabled)
SELECT $1, $2, type, channel, enabled FROM given
ON CONFLICT (tenant, user_id, channel, type) DO UPDATE SET enabled = excluded.enabled, updated_at = now()
WHERE s.enabled <> excluded.enabled
