INSERT INTO notification_contents (notification_id, accepted_at, body, to_sms)
SELECT md5('n' || n)::uuid, at, 'You paid 5,000.00 to Ada''s Kitchen. Balance: 12,345.67.',
       '+23480' || lpad((n % $5)::text, 8, '0')
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment
