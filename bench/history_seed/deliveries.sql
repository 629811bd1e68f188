INSERT INTO deliveries (
    id, notification_id, tenant, user_id, type, channel, position, status, version, attempts_made,
    next_pass_at, expires_at, accepted_at
)
SELECT (lpad(to_hex((EXTRACT(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5('d' || n), 3) || '8'
        || right(md5('d' || n), 15))::uuid, md5('n' || n)::uuid, 'dev', 'user-' || n % $5, 'alert', 'sms', 0,
       (CASE WHEN n % 20 = 0 THEN 'undelivered' ELSE 'delivered' END)::status, 3, 1,
       at, at + interval '4 hours', at
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment
