-- What can be told of the addresses that attempts went to: where the notification would go to now. It may
-- be another by now; the caller compares it with what the attempt says of its own.
SELECT a.delivery_id, a.no, d.tenant, d.user_id, d.channel, a.provider, a.device_id, a.target_masked,
       a.intended_at,
       CASE d.channel
           WHEN 'push' THEN
               CASE a.provider WHEN 'fcm' THEN v.fcm_token WHEN 'apns' THEN v.apns_token WHEN 'webpush' THEN v.webpush END
           ELSE addresses(c, u) ->> d.channel
       END AS address
FROM unnest($1::uuid[], $2::smallint[]) AS t (delivery_id, no)
JOIN deliveries d ON d.id = t.delivery_id
JOIN notification_attempts a ON a.delivery_id = d.id AND a.no = t.no AND a.accepted_at = d.accepted_at
LEFT JOIN notification_contents c ON c.notification_id = d.notification_id AND c.accepted_at = d.accepted_at
LEFT JOIN users u ON u.tenant = d.tenant AND u.user_id = d.user_id
LEFT JOIN devices v ON v.tenant = d.tenant AND v.user_id = d.user_id AND v.device_id = a.device_id
                   AND v.registered_at <= a.intended_at
