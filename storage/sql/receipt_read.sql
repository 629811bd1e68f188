-- Deliveries with their attempts (a row for each attempt) and what decides whether they can be sent again.
SELECT d.id, d.notification_id, d.tenant, d.type, d.channel, d.position, d.state, d.reason_code, d.version,
       d.pass_no, d.next_pass_at, d.expires_at, d.due_at, d.accepted_at, now() AS now,
       (c.notification_id IS NOT NULL AND c.scrubbed_at IS NULL) AS content_kept,
       a.no, a.provider, a.pass_no AS attempt_pass_no, a.device_id, a.intended_at, a.hold_until, a.outcome,
       a.code, a.provider_message_id, a.match_key, a.receipt_status, a.closed_at, a.late_outcome
FROM deliveries d
JOIN notification_attempts a ON a.delivery_id = d.id AND a.accepted_at = d.accepted_at
LEFT JOIN notification_contents c ON c.notification_id = d.notification_id AND c.accepted_at = d.accepted_at
WHERE d.id = ANY($1::uuid[])
ORDER BY d.id, a.no
