-- Nineteen of twenty ended as `delivered`, and one as `undelivered`; each waited three seconds for it.
INSERT INTO notifications (
    id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version, lane, strategy,
    status, accepted_at, expires_at, final_at
)
SELECT md5('n' || n)::uuid, 'dev', 'user-' || n % $5, 'alert', 'key-' || n, sha256(int8send(n)), 'default', 1, 2,
       'all', (CASE WHEN n % 20 = 0 THEN 'undelivered' ELSE 'delivered' END)::status,
       at, at + interval '4 hours', at + interval '3 seconds'
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment
