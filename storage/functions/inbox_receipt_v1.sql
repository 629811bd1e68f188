-- A verified callback to be stored.
CREATE TYPE inbox_receipt_v1 AS (
    provider            text,
    event_key           text,
    provider_message_id text,
    delivery_id         uuid,
    attempt_number      smallint,
    status              text,
    code                text,
    permanent           boolean,
    address_verdict     text,
    occurred_at         timestamptz
);
