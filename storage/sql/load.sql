-- Everything that a pass needs to decide and to send, one row a notification.
SELECT n.id, n.tenant, n.user_id, n.type, n.lane, n.strategy, n.status, n.accepted_at, n.send_at, n.expires_at,
       now() AS now,
       (c).title, COALESCE((c).body, '') AS body, COALESCE((c).metadata, '{}') AS metadata, (c).scrubbed_at,
       addresses(c, u) AS addresses,
       u.time_zone, u.quiet_start, u.quiet_end,
       (SELECT json_agg(d ORDER BY d.position) FROM (
            SELECT id, channel, position, state, reason_code, version, pass_no, round_pass, next_pass_at, expires_at, due_at
            FROM deliveries WHERE notification_id = n.id) d) AS deliveries,
       (SELECT json_agg(a ORDER BY a.delivery_id, a.no) FROM (
            SELECT a.delivery_id, a.no, a.provider, a.pass_no, a.device_id, a.intended_at, a.hold_until, a.outcome,
                   a.code, a.provider_message_id, a.match_key, a.receipt_status, a.closed_at
            FROM deliveries d
                 -- Held apart by OFFSET 0, so that the delivery is found first: by their month alone, where nothing
                 -- is known of the table yet, all attempts of the month were looked through.
                 CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                                     WHERE a.delivery_id = d.id AND a.accepted_at = n.accepted_at OFFSET 0) a
            WHERE d.notification_id = n.id AND d.attempts_made > 0) a) AS attempts,
       (SELECT json_agg(v ORDER BY v.registered_at DESC) FROM (
            SELECT device_id, fcm_token, apns_token, webpush, registered_at FROM devices v
            WHERE v.tenant = n.tenant AND v.user_id = n.user_id
              AND COALESCE(v.fcm_token, v.apns_token, v.webpush) IS NOT NULL
              AND ((c).to_push IS NULL OR v.device_id = (c).to_push)) v) AS devices,
       (SELECT json_agg(s) FROM (
            SELECT type, channel, enabled FROM user_notification_settings s
            WHERE s.tenant = n.tenant AND s.user_id = n.user_id AND s.type IN (n.type, '*')) s) AS settings,
       (SELECT json_agg(s) FROM (
            -- Told in the recipient's own spelling.
            SELECT own.channel, own.address
            FROM (SELECT key AS channel, value AS address FROM jsonb_each_text(addresses(c, u))
                  UNION ALL
                  SELECT 'push', held.token
                  FROM devices v, LATERAL (VALUES (v.fcm_token), (v.apns_token), (v.webpush)) AS held (token)
                  WHERE v.tenant = n.tenant AND v.user_id = n.user_id) own,
                 -- With a limit, one look at the key for each address: a plain join may walk the tenant's list.
                 LATERAL (SELECT true FROM suppressions s
                          WHERE s.tenant IN (n.tenant, '*') AND s.channel = own.channel
                            AND s.address = suppression_key(own.channel, own.address) LIMIT 1) found
       ) s) AS suppressed
FROM notifications n
-- One look into the month of each: a plain join may look into every month for all of them.
LEFT JOIN LATERAL (SELECT c FROM notification_contents c
                   WHERE c.notification_id = n.id AND c.accepted_at = n.accepted_at LIMIT 1) held ON true
LEFT JOIN users u ON u.tenant = n.tenant AND u.user_id = n.user_id
WHERE n.id = ANY($1::uuid[])
