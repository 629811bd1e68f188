-- Nineteen of twenty ended as `delivered`, and one as `undelivered`; each waited three seconds for it.
INSERT INTO notifications (
    id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version, lane, strategy,
    status, accepted_at, expires_at, final_at
)
SELECT md5('n' || no)::uuid, 'dev', 'user-' || no % $5, 'alert', 'key-' || no, sha256(int8send(no)), 'default', 1, 2,
       'all', (CASE WHEN no % 20 = 0 THEN 'undelivered' ELSE 'delivered' END)::status,
       at, at + interval '4 hours', at + interval '3 seconds'
FROM generate_series($1::bigint, $2::bigint) no, LATERAL (SELECT $3::timestamptz + no * $4::interval AS at) moment
