-- Lines that were not accepted, and why. One that was told before stays as it was.
INSERT INTO broadcast_refusals (broadcast_id, upload, no, code, pointer, message)
SELECT $1, $2, t.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[]) AS t (no, code, pointer, message)
ON CONFLICT DO NOTHING
