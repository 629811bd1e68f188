INSERT INTO users (tenant, user_id, phone, email, time_zone)
SELECT 'dev', 'user-' || n, '+23480' || lpad(n::text, 8, '0'), 'user-' || n || '@example.com', 'Africa/Lagos'
FROM generate_series(0, $5::bigint - 1) n
WHERE $1::bigint <= $2::bigint AND $3::timestamptz IS NOT NULL AND $4::interval IS NOT NULL
