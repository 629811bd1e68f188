-- The ledger: what was accepted, what may happen next, what was tried, what is due.
--
-- Foreign keys are left out on purpose: rows of one notification are written by one statement, partitions
-- are dropped for retention while `notifications` stays, and the reconciliation reports what does not fit.

-- In the order of domain/status.py: max(state) over its deliveries is a notification's status.
CREATE TYPE status AS ENUM (
    'waiting',
    'cancelled', 'expired', 'suppressed', 'rate_limited', 'failed', 'undelivered', 'sent', 'delivered',
    'outcome_unknown', 'dead_lettered',
    'accepted', 'scheduled', 'deferred', 'sending'
);

-- Narrow and kept: idempotency outlives the content, the attempts and the receipts.
CREATE TABLE notifications (
    id                  uuid PRIMARY KEY,
    tenant              text NOT NULL,
    user_id             text NOT NULL,
    type                text NOT NULL,
    idempotency_key     text NOT NULL,
    fingerprint         bytea NOT NULL,
    fingerprint_key_id  text NOT NULL,
    fingerprint_version smallint NOT NULL,
    lane                smallint NOT NULL CHECK (lane BETWEEN 0 AND 3),
    strategy            text NOT NULL CHECK (strategy IN ('all', 'first')),
    scrub               boolean NOT NULL DEFAULT false,
    status              status NOT NULL,
    reason_code         text,
    accepted_at         timestamptz NOT NULL,
    send_at             timestamptz,
    expires_at          timestamptz NOT NULL,
    final_at            timestamptz,
    UNIQUE (tenant, user_id, type, idempotency_key)
) WITH (fillfactor = 85);

CREATE INDEX notifications_newest ON notifications (tenant, accepted_at DESC, id DESC);
CREATE INDEX notifications_of_user ON notifications (tenant, user_id, accepted_at DESC, id DESC);
CREATE INDEX notifications_parked ON notifications (tenant, accepted_at DESC, id DESC)
    WHERE status IN ('outcome_unknown', 'dead_lettered');

-- One row for each channel of a notification. It alone decides what may happen next: every change
-- compares and sets `version`, and state 'sending' means exactly that one attempt is open. Passes are
-- counted for ever; the retry schedule counts from `round_pass`, where an operator's retry began it anew.
CREATE TABLE deliveries (
    id              uuid PRIMARY KEY,
    notification_id uuid NOT NULL,
    tenant          text NOT NULL,
    user_id         text NOT NULL,
    type            text NOT NULL,
    channel         text NOT NULL,
    position        smallint NOT NULL,
    state           status NOT NULL,
    reason_code     text,
    version         integer NOT NULL DEFAULT 0,
    pass_no         smallint NOT NULL DEFAULT 0,
    round_pass      smallint NOT NULL DEFAULT 0,
    attempts_made   smallint NOT NULL DEFAULT 0,
    next_pass_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    due_at          timestamptz,
    accepted_at     timestamptz NOT NULL,
    UNIQUE (notification_id, channel)
) WITH (fillfactor = 85);

-- The queue: when something must have happened by. Claiming pushes due_at forward, so that claiming
-- what is due is also the reconciliation of whatever was lost on the way.
CREATE TABLE due (
    id          uuid PRIMARY KEY,
    lane        smallint NOT NULL,
    due_at      timestamptz NOT NULL,
    lease_until timestamptz,
    claim       uuid,
    page_id     uuid,
    solo        boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX due_next ON due (lane, due_at);

-- Partitioned by the notification's acceptance, so that retention drops partitions.
CREATE TABLE notification_contents (
    notification_id uuid NOT NULL,
    accepted_at     timestamptz NOT NULL,
    title           text,
    body            text NOT NULL,
    to_sms          text,
    to_email        text,
    to_push         text,
    metadata        jsonb NOT NULL DEFAULT '{}',
    scrubbed_at     timestamptz,
    PRIMARY KEY (notification_id, accepted_at)
) PARTITION BY RANGE (accepted_at);

-- The evidence: a row is committed before a provider is called, and closed with what came of it.
CREATE TABLE notification_attempts (
    delivery_id         uuid NOT NULL,
    no                  smallint NOT NULL,
    accepted_at         timestamptz NOT NULL,
    notification_id     uuid NOT NULL,
    channel             text NOT NULL,
    provider            text NOT NULL,
    pass_no             smallint NOT NULL,
    device_id           text,
    target_masked       text NOT NULL,
    selection           jsonb NOT NULL,
    match_key           text,
    intended_at         timestamptz NOT NULL,
    hold_until          timestamptz NOT NULL,
    outcome             text CHECK (outcome IN ('accepted', 'rejected_recipient', 'rejected', 'throttled',
                                                'unavailable', 'not_sent', 'unknown')),
    code                text,
    http_status         smallint,
    provider_message_id text,
    resolved_by         text CHECK (resolved_by IN ('response', 'lookup', 'callback', 'policy', 'operator')),
    latency_ms          integer,
    closed_at           timestamptz,
    receipt_status      text CHECK (receipt_status IN ('queued', 'sent', 'undelivered', 'delivered')),
    receipt_code        text,
    receipt_at          timestamptz,
    late_outcome        text,
    late_at             timestamptz,
    PRIMARY KEY (delivery_id, no, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE UNIQUE INDEX notification_attempts_one_open ON notification_attempts (delivery_id, accepted_at)
    WHERE outcome IS NULL;
CREATE INDEX notification_attempts_open_match ON notification_attempts (match_key) WHERE outcome IS NULL;

-- Whose a provider's message is. Apart from the attempts because uniqueness must span their partitions.
CREATE TABLE provider_messages (
    provider            text NOT NULL,
    provider_message_id text NOT NULL,
    delivery_id         uuid NOT NULL,
    no                  smallint NOT NULL,
    accepted_at         timestamptz NOT NULL,
    PRIMARY KEY (provider, provider_message_id)
);

-- Callbacks as they were verified and normalised, until the relay has applied them.
CREATE TABLE receipt_inbox (
    provider            text NOT NULL,
    event_key           text NOT NULL,
    provider_message_id text,
    delivery_id         uuid,
    no                  smallint,
    status              text NOT NULL,
    code                text,
    permanent           boolean NOT NULL,
    address_verdict     text NOT NULL,
    occurred_at         timestamptz,
    received_at         timestamptz NOT NULL DEFAULT now(),
    due_at              timestamptz NOT NULL DEFAULT now(),
    tries               smallint NOT NULL DEFAULT 0,
    orphaned_at         timestamptz,
    PRIMARY KEY (provider, event_key)
);

CREATE INDEX receipt_inbox_next ON receipt_inbox (due_at) WHERE orphaned_at IS NULL;

CREATE TABLE receipts (
    delivery_id         uuid NOT NULL,
    no                  smallint NOT NULL,
    provider            text NOT NULL,
    event_key           text NOT NULL,
    accepted_at         timestamptz NOT NULL,
    status              text NOT NULL,
    code                text,
    permanent           boolean NOT NULL,
    occurred_at         timestamptz,
    received_at         timestamptz NOT NULL,
    source              text NOT NULL CHECK (source IN ('callback', 'poll', 'lookup')),
    PRIMARY KEY (delivery_id, provider, event_key, accepted_at)
) PARTITION BY RANGE (accepted_at);

-- Decisions that leave no other row: the plan, a deferral, a retry's time, a dead letter, an operator's act.
CREATE TABLE timeline (
    notification_id uuid NOT NULL,
    accepted_at     timestamptz NOT NULL,
    seq             bigint GENERATED ALWAYS AS IDENTITY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind            text NOT NULL,
    channel         text,
    data            jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (notification_id, seq, accepted_at)
) PARTITION BY RANGE (accepted_at);

-- Makes the monthly partitions of every partitioned table, from last month to $1 months ahead.
-- Called by migrations and by the reconciliation; safe to call at any time and twice at once.
CREATE FUNCTION ensure_partitions(months_ahead integer) RETURNS void LANGUAGE plpgsql SET timezone TO 'UTC' AS $$
DECLARE
    parent text;
    month  timestamptz;
    child  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('herald/partitions'));
    FOREACH parent IN ARRAY ARRAY['notification_contents', 'notification_attempts', 'receipts', 'timeline'] LOOP
        FOR step IN -1 .. months_ahead LOOP
            month := date_trunc('month', now()) + make_interval(months => step);
            child := parent || to_char(month, '_YYYY_MM');
            IF to_regclass(child) IS NULL THEN
                -- Made apart and attached, which only holds off other schema changes: CREATE TABLE …
                -- PARTITION OF would wait for every transaction on the table, with all others behind it.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, month, month + interval '1 month');
            END IF;
        END LOOP;
    END LOOP;
END $$;

SELECT ensure_partitions(3);
