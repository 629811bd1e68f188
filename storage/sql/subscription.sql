-- What a delivery's user gets by it, and whether they want it: a setting of the type goes before that of `*`.
SELECT d.type, d.channel, COALESCE(
    (SELECT s.enabled FROM user_notification_settings s
     WHERE s.tenant = d.tenant AND s.user_id = d.user_id AND s.channel = d.channel AND s.type IN (d.type, '*')
     ORDER BY s.type = '*' LIMIT 1), true) AS wanted
FROM deliveries d WHERE d.id = $1
