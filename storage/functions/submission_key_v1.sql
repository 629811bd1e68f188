-- The fields that identify a notification for its client, and the id that is derived from them.
CREATE TYPE submission_key_v1 AS (
    id              uuid,
    tenant          text,
    user_id         text,
    type            text,
    idempotency_key text
);
