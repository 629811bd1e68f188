-- The ledger: what was accepted, what may happen next, what was tried, what is due.
--
-- There are deliberately no foreign keys: one statement writes all rows of a notification, retention drops partitions
-- while `notifications` stays, and the reconciliation reports what is inconsistent.
--
-- Tables whose rows are added in the order of time (contents, deliveries, attempts, receipts, timeline) are keyed by
-- it: by when the notification was accepted, or by a delivery id that begins with the time. New entries then go to the
-- last pages of each index, whatever the size of the table; only the index of match keys has them anywhere.

-- In the order of Status in Python: a notification's status is max(status) over its deliveries.
CREATE TYPE status AS ENUM (
    'waiting',
    'cancelled', 'expired', 'suppressed', 'rate_limited', 'failed', 'undelivered', 'sent', 'delivered',
    'outcome_unknown', 'dead_lettered',
    'accepted', 'scheduled', 'deferred', 'sending'
);

-- Narrow and kept longest: idempotency outlives the content, the attempts and the receipts.
--
-- By default a table is vacuumed once a fifth of it is dead: of ten million rows, two million. The dead versions
-- are those of the newest rows, so that their pages would not be reused for days.
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
    broadcast_id        uuid,
    UNIQUE (tenant, user_id, type, idempotency_key)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX notifications_newest ON notifications (tenant, accepted_at DESC, id DESC);
CREATE INDEX notifications_of_user ON notifications (tenant, user_id, accepted_at DESC, id DESC);
CREATE INDEX notifications_parked ON notifications (tenant, accepted_at DESC, id DESC)
    WHERE status IN ('outcome_unknown', 'dead_lettered');
-- Notifications that are not over, whatever their age: for the reconciliation and for retention. The condition also
-- finds a row that has a final_at although its status is not final.
CREATE INDEX notifications_live ON notifications (accepted_at)
    WHERE final_at IS NULL OR status >= 'outcome_unknown';

-- One row for each channel of a notification. This row alone decides what may happen next: every change compares
-- and sets `version`, and status 'sending' means that exactly one attempt is open. `pass_number` is never reset; the
-- retry schedule counts from `round_pass`, at which an operator's retry started it again.
CREATE TABLE deliveries (
    id              uuid PRIMARY KEY DEFAULT uuidv7(),
    notification_id uuid NOT NULL,
    tenant          text NOT NULL,
    user_id         text NOT NULL,
    type            text NOT NULL,
    channel         text NOT NULL,
    position        smallint NOT NULL,
    status          status NOT NULL,
    reason_code     text,
    version         integer NOT NULL DEFAULT 0,
    pass_number     smallint NOT NULL DEFAULT 0,
    round_pass      smallint NOT NULL DEFAULT 0,
    attempts_made   smallint NOT NULL DEFAULT 0,
    next_pass_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    due_at          timestamptz,
    accepted_at     timestamptz NOT NULL,
    UNIQUE (accepted_at, notification_id, channel)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- The queue: when each notification must be processed next. A claim pushes due_at forward, so that what is lost on the
-- way is due again. The dispatcher claims what has a dedicated workflow (`dedicated_workflow`), batches the rest.
CREATE TABLE due (
    id                 uuid PRIMARY KEY,
    lane               smallint NOT NULL,
    due_at             timestamptz NOT NULL,
    lease_until        timestamptz,
    claim              uuid,
    batch_id           uuid,
    dedicated_workflow boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX due_in_order ON due (lane, dedicated_workflow, due_at);

-- Partitioned by when the notification was accepted, so that retention drops partitions.
CREATE TABLE notification_contents (
    notification_id uuid NOT NULL,
    accepted_at     timestamptz NOT NULL,
    title           text,
    body            text NOT NULL,
    to_sms          text,
    to_email        text,
    to_push         text,
    to_whatsapp     text,
    metadata        jsonb NOT NULL DEFAULT '{}',
    scrubbed_at     timestamptz,
    PRIMARY KEY (accepted_at, notification_id)
) PARTITION BY RANGE (accepted_at);

-- The evidence: a row is committed before a provider is called, and closed with the outcome.
CREATE TABLE notification_attempts (
    delivery_id         uuid NOT NULL,
    number              smallint NOT NULL,
    accepted_at         timestamptz NOT NULL,
    notification_id     uuid NOT NULL,
    channel             text NOT NULL,
    provider            text NOT NULL,
    pass_number         smallint NOT NULL,
    device_id           text,
    target_masked       text NOT NULL,
    selection           jsonb NOT NULL,
    match_key           text,
    intended_at         timestamptz NOT NULL,
    send_deadline       timestamptz NOT NULL,
    outcome             text CHECK (outcome IN ('accepted', 'rejected_recipient', 'rejected', 'throttled',
                                                'unavailable', 'not_sent', 'unknown')),
    code                text,
    http_status         smallint,
    provider_message_id text,
    resolved_by         text CHECK (resolved_by IN ('response', 'lookup', 'callback', 'policy')),
    latency_ms          integer,
    closed_at           timestamptz,
    receipt_status      text CHECK (receipt_status IN ('queued', 'sent', 'undelivered', 'delivered')),
    receipt_code        text,
    receipt_at          timestamptz,
    late_outcome        text,
    late_at             timestamptz,
    PRIMARY KEY (delivery_id, number, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE UNIQUE INDEX notification_attempts_one_open ON notification_attempts (delivery_id, accepted_at)
    WHERE outcome IS NULL;
CREATE INDEX notification_attempts_open_match ON notification_attempts (match_key) WHERE outcome IS NULL;

-- Decisions that leave no other row: a deferral, a retry's time, a suppression, a dead letter, an operator's command.
-- What was planned for a channel is in the selection of its first attempt.
CREATE TABLE timeline (
    notification_id uuid NOT NULL,
    accepted_at     timestamptz NOT NULL,
    seq             bigint GENERATED ALWAYS AS IDENTITY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind            text NOT NULL,
    channel         text,
    data            jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (accepted_at, notification_id, seq)
) PARTITION BY RANGE (accepted_at);
