-- Recipients of one upload, or of a list.
INSERT INTO broadcast_recipients (broadcast_id, upload, no, user_id, addresses, data)
SELECT $1, $2, no, user_id, addresses::jsonb, data::jsonb
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[]) AS t (no, user_id, addresses, data)
