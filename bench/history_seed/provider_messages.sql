INSERT INTO provider_messages (provider, provider_message_id, delivery_id, attempt_number, accepted_at)
SELECT 'twilio', 'SM' || md5('m' || n), (lpad(to_hex((EXTRACT(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5('d' || n), 3) || '8'
        || right(md5('d' || n), 15))::uuid, 1, at
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT $3::timestamptz + n * $4::interval AS at) moment
WHERE $5::bigint > 0
