INSERT INTO notification_attempts (
    delivery_id, number, accepted_at, notification_id, channel, provider, pass_number, target_masked, selection, match_key,
    intended_at, send_deadline, outcome, code, http_status, provider_message_id, resolved_by, latency_ms, closed_at,
    receipt_status, receipt_at
)
SELECT (lpad(to_hex((EXTRACT(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5('d' || n), 3) || '8'
        || right(md5('d' || n), 15))::uuid, 1, at, md5('n' || n)::uuid, 'sms', 'twilio', 0, '+234•••••' || lpad((n % $5)::text, 4, '0'),
       '{"sms": {"encoding": "gsm7", "segments": 1}, "why": "first in the fallback order", "pass": 1, "limit": "none",
         "route": ["twilio", "termii"], "skipped": {}, "route_of": "general", "preferences": "allowed"}',
       md5('k' || n), at, at + interval '11 seconds', 'accepted', 'accepted', 201, 'SM' || md5('m' || n), 'response', 9,
       at + interval '9 ms', CASE WHEN n % 20 = 0 THEN 'undelivered' ELSE 'delivered' END, at + interval '3 seconds'
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment
