-- The evidence of one notification: its attempts in order. An SMS has its size and its expected cost.
SELECT a.channel, a.no, a.provider, a.pass_no, a.device_id, a.target_masked, a.selection - 'sms' AS selection,
       (a.selection -> 'sms' ->> 'segments')::integer AS segments, a.selection -> 'sms' ->> 'encoding' AS encoding,
       a.selection -> 'sms' ->> 'cost' AS cost, a.selection -> 'sms' ->> 'currency' AS currency, a.intended_at,
       a.hold_until, a.outcome, a.code, a.http_status, a.provider_message_id, a.resolved_by, a.latency_ms,
       a.closed_at, a.receipt_status, a.receipt_code, a.receipt_at, a.late_outcome, a.late_at
FROM deliveries d
JOIN notification_attempts a ON a.delivery_id = d.id AND a.accepted_at = d.accepted_at
WHERE d.notification_id = $1
ORDER BY a.intended_at, d.position, a.no
