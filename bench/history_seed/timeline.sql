-- Most have none: an attempt and its receipts have separate rows. One of ten was deferred once.
INSERT INTO timeline (notification_id, accepted_at, seq, at, kind, channel, data)
SELECT md5('n' || n)::uuid, at, n, at, 'deferred', 'sms', '{"reason_code": "quiet_hours"}'
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment
WHERE n % 10 = 0 AND $5::bigint > 0
