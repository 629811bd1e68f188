-- A receipt whose attempt is known, as it is stored.
CREATE TYPE receipt_v1 AS (
    delivery_id    uuid,
    attempt_number smallint,
    provider       text,
    event_key      text,
    accepted_at    timestamptz,
    status         text,
    code           text,
    permanent      boolean,
    occurred_at    timestamptz,
    received_at    timestamptz,
    source         text
);
