-- A user's opt-ins and opt-outs.
SELECT type, channel, enabled FROM user_notification_settings
WHERE tenant = $1 AND user_id = $2 ORDER BY type, channel
