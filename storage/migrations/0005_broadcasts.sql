-- Broadcasts: one message to many. A broadcast's row alone decides what may happen next with it: its pages are
-- accepted in one transaction with its cursor, and only while it runs.
CREATE TABLE broadcasts (
    id                  uuid PRIMARY KEY,
    tenant              text NOT NULL,
    idempotency_key     text NOT NULL,
    fingerprint         bytea NOT NULL,
    fingerprint_key_id  text NOT NULL,
    fingerprint_version smallint NOT NULL,
    state               text NOT NULL CHECK (state IN ('draft', 'running', 'paused', 'cancelled', 'completed')),
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
    -- Which upload is the audience; rows of others were cut short. `digest` tells a repeated one.
    upload              integer NOT NULL DEFAULT 0,
    digest              bytea,
    -- The last user that a query looked at; NULL once it looked at all, or where there is no query.
    gathered_to         text,
    total               bigint NOT NULL DEFAULT 0,
    accepted            bigint NOT NULL DEFAULT 0,
    refused             bigint NOT NULL DEFAULT 0,
    -- The number of the last recipient that was accepted or refused.
    cursor              bigint NOT NULL DEFAULT 0,
    -- When the next page may begin, by the rate.
    next_at             timestamptz NOT NULL DEFAULT now(),
    -- When somebody must have come back to it; NULL once nothing is expected any more.
    due_at              timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    ended_at            timestamptz,
    UNIQUE (idempotency_key, tenant)
);

CREATE INDEX broadcasts_newest ON broadcasts (tenant, created_at DESC, id DESC);
CREATE INDEX broadcasts_due ON broadcasts (due_at) WHERE due_at IS NOT NULL;

-- Who is still to be accepted. What recipients bring leaves with the page that accepts them.
CREATE TABLE broadcast_recipients (
    broadcast_id uuid NOT NULL,
    upload       integer NOT NULL,
    no           bigint NOT NULL,
    user_id      text NOT NULL,
    addresses    jsonb,
    data         jsonb,
    PRIMARY KEY (broadcast_id, upload, no)
);

-- Lines that were not accepted, and why: codes and names of fields, nothing of the line itself.
CREATE TABLE broadcast_refusals (
    broadcast_id uuid NOT NULL,
    upload       integer NOT NULL,
    no           bigint NOT NULL,
    code         text NOT NULL,
    pointer      text NOT NULL,
    message      text NOT NULL,
    PRIMARY KEY (broadcast_id, upload, no)
);

-- What was accepted, a page a row: what a cancelled broadcast has to stop.
CREATE TABLE broadcast_pages (
    broadcast_id     uuid NOT NULL,
    last_no          bigint NOT NULL,
    notification_ids uuid[] NOT NULL,
    stopped          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (broadcast_id, last_no)
);

ALTER TABLE notifications ADD COLUMN broadcast_id uuid;

-- How many of a broadcast's notifications came to a status since their acceptance, and left it: the sum over a
-- status is its count. Rows are only added, a group's at once, and folded together later: writers of one
-- broadcast would take turns at a counter.
CREATE TABLE broadcast_tallies (
    broadcast_id uuid NOT NULL,
    status       status NOT NULL,
    change       bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX broadcast_tallies_of ON broadcast_tallies (broadcast_id);
