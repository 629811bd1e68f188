-- Notifications as clients are shown them.
SELECT n.id, n.tenant, n.user_id, n.type, n.idempotency_key, n.lane, n.strategy, n.status, n.reason_code,
       n.accepted_at, n.send_at, n.expires_at, n.final_at, COALESCE(c.metadata, '{}') AS metadata,
       (SELECT json_agg(d ORDER BY d.position) FROM (
            SELECT channel, position, state AS status, reason_code, attempts_made AS attempts, pass_no, expires_at,
                   CASE WHEN state IN ('accepted', 'scheduled', 'deferred') THEN next_pass_at END AS next_pass_at,
                   CASE WHEN attempts_made > 0 THEN (
                        SELECT a.provider FROM notification_attempts a
                        WHERE a.delivery_id = d.id AND a.accepted_at = n.accepted_at
                        ORDER BY a.no DESC LIMIT 1) END AS provider
            FROM deliveries d WHERE d.notification_id = n.id) d) AS deliveries
FROM notifications n
LEFT JOIN notification_contents c ON c.notification_id = n.id AND c.accepted_at = n.accepted_at
WHERE n.id = ANY($1::uuid[])
