-- The next users that a query looks at ($2 of them) become recipients if they match. One statement a step, so
-- that a step that is repeated finds where the one before ended.
WITH b AS (
    SELECT id, tenant, query, gathered_to, total FROM broadcasts
    WHERE id = $1 AND state = 'running' AND gathered_to IS NOT NULL
    FOR NO KEY UPDATE
), looked_at AS (
    SELECT u.user_id, u.phone, u.email, u.whatsapp, u.time_zone
    FROM b, LATERAL (
        SELECT * FROM users WHERE users.tenant = b.tenant AND users.user_id > b.gathered_to
        ORDER BY users.user_id LIMIT $2
    ) u
), matching AS (
    SELECT l.user_id, row_number() OVER (ORDER BY l.user_id) AS place
    FROM looked_at l, b
    WHERE (b.query ->> 'time_zone' IS NULL OR l.time_zone = b.query ->> 'time_zone')
      AND CASE b.query ->> 'has_contact'
          WHEN 'sms' THEN l.phone IS NOT NULL
          WHEN 'email' THEN l.email IS NOT NULL
          WHEN 'whatsapp' THEN COALESCE(l.whatsapp, l.phone) IS NOT NULL
          -- A look at the key for each user: EXISTS may become a join that reads the whole table.
          WHEN 'push' THEN (
              SELECT true FROM devices d WHERE d.tenant = b.tenant AND d.user_id = l.user_id
                AND COALESCE(d.fcm_token, d.apns_token, d.webpush) IS NOT NULL LIMIT 1)
          ELSE true END
      AND (b.query -> 'setting' IS NULL OR b.query -> 'setting' = 'null' OR (
          SELECT s.enabled = (b.query -> 'setting' ->> 'enabled')::boolean FROM user_notification_settings s
          WHERE s.tenant = b.tenant AND s.user_id = l.user_id
            AND s.channel = b.query -> 'setting' ->> 'channel' AND s.type = b.query -> 'setting' ->> 'type'))
), put AS (
    INSERT INTO broadcast_recipients (broadcast_id, upload, no, user_id)
    SELECT b.id, 0, b.total + matching.place, matching.user_id FROM matching, b
)
UPDATE broadcasts
SET total = b.total + (SELECT count(*) FROM matching),
    gathered_to = CASE WHEN (SELECT count(*) FROM looked_at) = $2 THEN (SELECT max(user_id) FROM looked_at) END,
    due_at = now() + make_interval(secs => $3)
FROM b WHERE broadcasts.id = b.id
RETURNING broadcasts.gathered_to IS NULL AS whole
