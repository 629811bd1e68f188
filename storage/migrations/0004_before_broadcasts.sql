-- Broadcasts: one message to many users. The broadcast's row alone decides what may happen next: each chunk of its
-- audience is accepted in one transaction with the cursor, and only while the broadcast is running.
CREATE TABLE broadcasts (
    id                  uuid PRIMARY KEY,
    tenant              text NOT NULL,
    idempotency_key     text NOT NULL,
    fingerprint         bytea NOT NULL,
    fingerprint_key_id  text NOT NULL,
    fingerprint_version smallint NOT NULL,
    status              text NOT NULL CHECK (status IN ('draft', 'running', 'paused', 'cancelled', 'completed')),
    reason_code         text,
    type                text NOT NULL,
    channels            text[] NOT NULL,
    strategy            text NOT NULL CHECK (strategy IN ('all', 'first')),
    title               text,
    body                text NOT NULL,
    data                jsonb NOT NULL,
    metadata            jsonb NOT NULL,
    audience            text NOT NULL CHECK (audience IN ('list', 'upload', 'query')),
    query               jsonb,
    rate_per_s          float8,
    window_start        text,
    window_end          text,
    window_zone         text,
    start_at            timestamptz,
    expires_at          timestamptz,
    -- The upload that is the audience; other uploads were cut short. `digest` recognises a repeated upload.
    upload              integer NOT NULL DEFAULT 0,
    digest              bytea,
    -- The last user that the query looked at; NULL once it has looked at all of them, or without a query.
    gathered_to         text,
    total               bigint NOT NULL DEFAULT 0,
    accepted            bigint NOT NULL DEFAULT 0,
    refused             bigint NOT NULL DEFAULT 0,
    -- The number of the last recipient that was accepted or refused.
    cursor              bigint NOT NULL DEFAULT 0,
    -- When the rate allows the next chunk to begin.
    next_at             timestamptz NOT NULL DEFAULT now(),
    -- By when a worker must have continued the broadcast; NULL when nothing is expected of one.
    due_at              timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    ended_at            timestamptz,
    UNIQUE (idempotency_key, tenant)
);

CREATE INDEX broadcasts_newest ON broadcasts (tenant, created_at DESC, id DESC);
CREATE INDEX broadcasts_due ON broadcasts (due_at) WHERE due_at IS NOT NULL;

-- Recipients that are still to be accepted. A row is removed with the chunk that accepts it.
CREATE TABLE broadcast_recipients (
    broadcast_id uuid NOT NULL,
    upload       integer NOT NULL,
    number       bigint NOT NULL,
    user_id      text NOT NULL,
    addresses    jsonb,
    data         jsonb,
    PRIMARY KEY (broadcast_id, upload, number)
);

-- Lines that were not accepted, and why: codes and field names, none of the line's content.
CREATE TABLE broadcast_refusals (
    broadcast_id uuid NOT NULL,
    upload       integer NOT NULL,
    number       bigint NOT NULL,
    code         text NOT NULL,
    pointer      text NOT NULL,
    message      text NOT NULL,
    PRIMARY KEY (broadcast_id, upload, number)
);

-- The notifications that were accepted, one row per chunk: what a cancelled broadcast has to stop.
CREATE TABLE broadcast_chunks (
    broadcast_id     uuid NOT NULL,
    last_number      bigint NOT NULL,
    notification_ids uuid[] NOT NULL,
    stopped          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (broadcast_id, last_number)
);

-- How many of a broadcast's notifications have entered and left a status since they were accepted: the sum over a
-- status is its count. Rows are only added, one per group of writes, and folded later: with a single counter, the
-- writers of one broadcast would wait for each other.
CREATE TABLE broadcast_tallies (
    broadcast_id uuid NOT NULL,
    status       status NOT NULL,
    change       bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX broadcast_tallies_of ON broadcast_tallies (broadcast_id);
