INSERT INTO provider_messages (provider, provider_message_id, delivery_id, no, accepted_at)
SELECT 'twilio', 'SM' || md5('m' || no), md5('d' || no)::uuid, 1, at
FROM generate_series($1::bigint, $2::bigint) no, LATERAL (SELECT $3::timestamptz + no * $4::interval AS at) moment
WHERE $5::bigint > 0
