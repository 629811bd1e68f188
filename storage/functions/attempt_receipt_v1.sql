-- What an attempt learns from receipts. `closes`: an open attempt is proven to be accepted. `late`: so is one that
-- was closed as something else.
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
