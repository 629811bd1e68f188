-- Receipts as evidence; one that was kept before returns no row, and changes nothing again.
INSERT INTO receipts (
    delivery_id, no, provider, event_key, accepted_at, status, code, permanent, occurred_at, received_at, source
)
SELECT * FROM unnest(
    $1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::boolean[],
    $9::timestamptz[], $10::timestamptz[], $11::text[]
)
ON CONFLICT DO NOTHING
RETURNING delivery_id, provider, event_key
