-- What receipts show about an attempt. `closes`: they prove that an open attempt was accepted. `late`: they prove it
-- of an attempt that was closed with another outcome.
CREATE TYPE attempt_receipt_v1 AS (
    delivery_id         uuid,
    number              smallint,
    accepted_at         timestamptz,
    receipt_status      text,
    receipt_code        text,
    receipt_at          timestamptz,
    provider_message_id text,
    closes              boolean,
    resolved_by         text,
    late                boolean
);
