-- Verified receipts into the inbox; one that waits there already returns no row.
INSERT INTO receipt_inbox (
    provider, event_key, provider_message_id, delivery_id, no, status, code, permanent, address_verdict, occurred_at
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::uuid[], $5::smallint[], $6::text[], $7::text[], $8::boolean[],
    $9::text[], $10::timestamptz[]
)
ON CONFLICT DO NOTHING
RETURNING provider, event_key, (SELECT pg_notify('herald_receipts', ''))
