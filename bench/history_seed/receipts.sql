-- Two of each: the vendor sent it, and what became of it.
INSERT INTO receipts (
    delivery_id, attempt_number, provider, event_key, accepted_at, status, permanent, received_at, source
)
SELECT (lpad(to_hex((EXTRACT(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5('d' || n), 3) || '8'
        || right(md5('d' || n), 15))::uuid, 1, 'twilio', 'SM' || md5('m' || n) || ':' || status, at, status, false,
       at + interval '3 seconds', 'callback'
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment,
     LATERAL (VALUES ('sent'), (CASE WHEN n % 20 = 0 THEN 'undelivered' ELSE 'delivered' END)) reported (status)
WHERE $5::bigint > 0
