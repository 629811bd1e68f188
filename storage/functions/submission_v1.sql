-- A notification to be accepted. Without `expires_at` it expires `expires_s` seconds after `send_at` or its
-- acceptance. `channels` are in the order in which strategy `first` tries them.
CREATE TYPE submission_v1 AS (
    id                  uuid,
    tenant              text,
    user_id             text,
    type                text,
    idempotency_key     text,
    fingerprint         bytea,
    fingerprint_key_id  text,
    fingerprint_version smallint,
    lane                smallint,
    strategy            text,
    channels            text[],
    scrub               boolean,
    send_at             timestamptz,
    expires_at          timestamptz,
    expires_s           float8,
    title               text,
    body                text,
    to_sms              text,
    to_email            text,
    to_push             text,
    to_whatsapp         text,
    metadata            text,
    broadcast_id        uuid,
    dedicated_workflow  boolean
);
