-- step: 0001_before_ledger
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
-- step: 0002_before_receipts
-- What providers report about their messages: the inbox of callbacks, the receipts, and each message's attempt.

-- Which attempt a provider's message belongs to. Separate from the attempts, because a message id must be unique
-- across their partitions.
CREATE TABLE provider_messages (
    provider            text NOT NULL,
    provider_message_id text NOT NULL,
    delivery_id         uuid NOT NULL,
    attempt_number      smallint NOT NULL,
    accepted_at         timestamptz NOT NULL,
    PRIMARY KEY (provider, provider_message_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- Retention removes the oldest. New entries go to the index's last page.
CREATE INDEX provider_messages_oldest ON provider_messages (accepted_at);

-- Callbacks, verified and normalised, until the receipt processor has applied them.
CREATE TABLE receipt_inbox (
    provider            text NOT NULL,
    event_key           text NOT NULL,
    provider_message_id text,
    delivery_id         uuid,
    attempt_number      smallint,
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
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX receipt_inbox_next ON receipt_inbox (due_at) WHERE orphaned_at IS NULL;
-- Callbacks that matched no attempt: few, and every round of the reconciliation looks for them.
CREATE INDEX receipt_inbox_orphans ON receipt_inbox (orphaned_at) WHERE orphaned_at IS NOT NULL;

CREATE TABLE receipts (
    delivery_id    uuid NOT NULL,
    attempt_number smallint NOT NULL,
    provider       text NOT NULL,
    event_key      text NOT NULL,
    accepted_at    timestamptz NOT NULL,
    status         text NOT NULL,
    code           text,
    permanent      boolean NOT NULL,
    occurred_at    timestamptz,
    received_at    timestamptz NOT NULL,
    source         text NOT NULL CHECK (source IN ('callback', 'poll', 'lookup')),
    PRIMARY KEY (delivery_id, provider, event_key, accepted_at)
) PARTITION BY RANGE (accepted_at);
-- step: 0003_before_users
-- Users: their addresses and devices, their preferences, and the suppressed addresses.

-- `whatsapp`: the user's WhatsApp number, where it differs from their phone.
CREATE TABLE users (
    tenant      text NOT NULL,
    user_id     text NOT NULL,
    phone       text,
    email       text,
    whatsapp    text,
    time_zone   text,
    quiet_start text,
    quiet_end   text,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_id)
);

-- A token that a provider called dead is emptied, and the reason kept. `webpush`: a browser's subscription, its
-- endpoint with its keys after a `#`. `confirmed_at`: when the app last registered the same tokens again; a provider's
-- verdict may be older than that. NULL: not since the first registration.
CREATE TABLE devices (
    tenant             text NOT NULL,
    user_id            text NOT NULL,
    device_id          text NOT NULL,
    fcm_token          text,
    apns_token         text,
    webpush            text,
    registered_at      timestamptz NOT NULL DEFAULT now(),
    confirmed_at       timestamptz,
    deactivated_at     timestamptz,
    deactivated_reason text,
    PRIMARY KEY (tenant, user_id, device_id)
);

-- Opt-ins and opt-outs. Type '*' stands for every type; a named type takes precedence.
CREATE TABLE user_notification_settings (
    tenant     text NOT NULL,
    user_id    text NOT NULL,
    type       text NOT NULL,
    channel    text NOT NULL,
    enabled    boolean NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_id, channel, type)
);

CREATE TABLE suppressions (
    tenant     text NOT NULL,
    channel    text NOT NULL,
    address    text NOT NULL,
    reason     text NOT NULL,
    source     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, channel, address)
);

-- Users' replies to our senders, reduced to STOP or START. A sender belongs to the installation, so that a
-- reply applies to every tenant: its suppression is stored under the tenant `*`, which no API key has.
CREATE TABLE replies (
    provider    text NOT NULL,
    event_key   text NOT NULL,
    channel     text NOT NULL,
    address     text NOT NULL,
    word        text NOT NULL CHECK (word IN ('stop', 'start')),
    said_at     timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, event_key)
);

CREATE INDEX replies_of ON replies (channel, address, said_at);
-- step: 0004_before_broadcasts
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
-- step: 0005_before_installation
-- The installation: the status and circuit of its providers, and its API keys.

-- No row: the provider is active and its circuit closed.
CREATE TABLE providers (
    name       text PRIMARY KEY,
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'drained')),
    circuit    text NOT NULL DEFAULT 'closed' CHECK (circuit IN ('closed', 'open', 'half_open')),
    circuit_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    prefix     text PRIMARY KEY,
    tenant     text NOT NULL,
    name       text NOT NULL,
    digest     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
-- step: addresses_v1
-- The addresses of a notification, by channel: its own take precedence over the user's. Channels without an address
-- are missing, and so is push, which goes to devices.
CREATE FUNCTION addresses_v1(content notification_contents, owner users) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'sms', COALESCE(content.to_sms, owner.phone),
        'email', COALESCE(content.to_email, owner.email),
        'whatsapp', COALESCE(content.to_whatsapp, owner.whatsapp, owner.phone)
    ))
$$;
-- step: attempt_receipt_v1
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
-- step: broadcast_recipient_v1
-- A recipient of a broadcast's list or upload, by the number of its line.
CREATE TYPE broadcast_recipient_v1 AS (
    number    bigint,
    user_id   text,
    addresses text,
    data      text
);
-- step: broadcast_refusal_v1
-- A line of an upload that was not accepted, and why.
CREATE TYPE broadcast_refusal_v1 AS (
    number  bigint,
    code    text,
    pointer text,
    message text
);
-- step: broadcast_v1
-- A new broadcast. A draft is abandoned if its audience is not uploaded within `draft_kept_s` seconds.
CREATE TYPE broadcast_v1 AS (
    id                  uuid,
    tenant              text,
    idempotency_key     text,
    fingerprint         bytea,
    fingerprint_key_id  text,
    fingerprint_version smallint,
    status              text,
    type                text,
    channels            text[],
    strategy            text,
    title               text,
    body                text,
    data                text,
    metadata            text,
    audience            text,
    query               text,
    rate_per_s          float8,
    window_start        text,
    window_end          text,
    window_zone         text,
    start_at            timestamptz,
    expires_at          timestamptz,
    total               bigint,
    draft_kept_s        float8
);
-- step: delivery_update_v1
-- A change of a delivery that sends nothing. `new_round`: the retry schedule starts again.
CREATE TYPE delivery_update_v1 AS (
    notification_id uuid,
    delivery_id     uuid,
    version         integer,
    status          text,
    reason_code     text,
    pass_number     smallint,
    new_round       boolean,
    next_pass_at    timestamptz,
    due_at          timestamptz,
    expires_at      timestamptz,
    release         boolean,
    event           text,
    data            text
);
-- step: device_v1
-- A user's device with its tokens.
CREATE TYPE device_v1 AS (
    device_id  text,
    fcm_token  text,
    apns_token text,
    webpush    text
);
-- step: ensure_partitions_v1
-- Create the monthly partitions of every partitioned table, from last month to `months_ahead` months ahead.
-- Called by migrations and by the reconciliation; safe to call at any time, also concurrently.
CREATE FUNCTION ensure_partitions_v1(months_ahead integer) RETURNS void LANGUAGE plpgsql SET timezone TO 'UTC' AS $$
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
                -- Created apart and attached, which blocks other schema changes only: CREATE TABLE …
                -- PARTITION OF would wait for every transaction on the table, and block all later ones.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, month, month + interval '1 month');
            END IF;
        END LOOP;
    END LOOP;
END $$;
-- step: hand_over_v1
-- A claim that a batch gives up. `dedicated_workflow`: its notification gets a dedicated workflow.
CREATE TYPE hand_over_v1 AS (
    id                 uuid,
    claim              uuid,
    dedicated_workflow boolean
);
-- step: inbox_receipt_v1
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
-- step: is_opted_out_v1
-- Whether a user has opted out of a type over a channel, by the same rule as in Python. A setting for the type takes
-- precedence over one for `*`; a user who has neither wants everything.
-- It returns a set of one row, so that Postgres inlines it into the statement that calls it.
CREATE FUNCTION is_opted_out_v1(of_tenant text, of_user text, of_channel text, of_type text)
RETURNS TABLE (opted_out boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT NOT COALESCE(
        (SELECT s.enabled FROM user_notification_settings s
         WHERE s.tenant = of_tenant AND s.user_id = of_user AND s.channel = of_channel AND s.type IN (of_type, '*')
         ORDER BY s.type = '*' LIMIT 1), true)
$$;
-- step: is_suppressed_v1
-- Whether an address is suppressed for its tenant or for all tenants; it is spelled as suppression_key_v1 spells it.
-- One look-up per key, whatever the statistics say: EXISTS may become a join that scans the tenant's list, a scalar
-- subquery may not.
-- It returns a set of one row, so that Postgres inlines it into the statement that calls it.
CREATE FUNCTION is_suppressed_v1(of_tenant text, of_channel text, of_address text)
RETURNS TABLE (suppressed boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT (SELECT true FROM suppressions s
            WHERE s.tenant IN (of_tenant, '*') AND s.channel = of_channel AND s.address = of_address
            LIMIT 1) IS NOT NULL
$$;
-- step: ledger_advance_v1
-- `strategy: first`: when no delivery is under way and none has reached the user, the next waiting channel starts.
-- When one has reached the user for good, the channels that were not tried yet are cancelled as not needed. When the
-- notification was cancelled, no channel starts.
CREATE FUNCTION ledger_advance_v1(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH line AS (
        SELECT n.id, n.accepted_at, own.*
        FROM notifications n CROSS JOIN LATERAL (
            SELECT array_agg(d.id) AS delivery_ids,
                   min(position) FILTER (WHERE status = 'waiting') AS next,
                   bool_or(status = 'delivered' OR (status = 'sent' AND due_at IS NULL)) AS reached,
                   -- Why the next channel starts: how the previous one ended.
                   (array_agg(jsonb_strip_nulls(jsonb_build_object(
                        'channel', channel, 'status', status, 'reason_code', reason_code)) ORDER BY position DESC)
                    FILTER (WHERE status <> 'waiting'))[1] AS ended,
                   bool_or(status = 'cancelled') AS cancelled,
                   max(reason_code) FILTER (WHERE status = 'cancelled') AS cancel_reason,
                   bool_or(status IN ('accepted', 'scheduled', 'deferred', 'sending', 'outcome_unknown',
                                      'dead_lettered')
                           OR (status = 'sent' AND due_at IS NOT NULL)) AS busy
            FROM deliveries d WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id
        ) own
        WHERE n.id = ANY(ids)
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = CASE WHEN line.reached OR line.cancelled THEN 'cancelled' ELSE 'accepted' END::status,
            reason_code = CASE WHEN line.reached THEN 'not_needed' ELSE line.cancel_reason END,
            next_pass_at = CASE WHEN line.reached OR line.cancelled THEN d.next_pass_at ELSE now() END,
            due_at = CASE WHEN line.reached OR line.cancelled THEN NULL ELSE now() END
        FROM line
        WHERE d.id = ANY(ARRAY(SELECT unnest(delivery_ids) FROM line)) AND d.notification_id = line.id
          AND CASE WHEN line.reached THEN d.status IN ('waiting', 'accepted', 'scheduled', 'deferred')
                   ELSE d.status = 'waiting' AND (line.cancelled OR (NOT line.busy AND d.position = line.next)) END
        RETURNING d.notification_id, d.accepted_at, d.channel, d.status, d.reason_code, line.ended
    )
    INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
    SELECT notification_id, accepted_at, CASE status WHEN 'accepted' THEN 'next_channel' ELSE 'cancelled' END, channel,
           CASE status WHEN 'accepted' THEN jsonb_build_object('after', ended)
                       ELSE jsonb_build_object('reason_code', reason_code) END
    FROM updated;
END $$;
-- step: ledger_lock_v1
-- The first step of every change of a delivery: lock its notifications in id order. Every writer that changes
-- deliveries, or derives due entries from them, holds these locks: the writers of one notification take turns.
-- Without them are written: new notifications, which no one else knows; claims and their release, which change only
-- their due entries, row by row; the address for a dead letter; and a late outcome, which changes no delivery.
-- Returns those of strategy `first`.
CREATE FUNCTION ledger_lock_v1(ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        WITH locked AS MATERIALIZED (
            SELECT id, strategy FROM notifications WHERE id = ANY(ids) ORDER BY id FOR NO KEY UPDATE
        )
        SELECT COALESCE(array_agg(id) FILTER (WHERE strategy = 'first'), '{}') FROM locked
    );
END $$;
-- step: ledger_refresh_v1
-- The last step of every change of a delivery: derive from the deliveries each notification's status, whether its content must
-- be removed, and its queue entry. `released`: those whose claim is given back. No process holds them any more, so they
-- are due when their deliveries say, not when the lease ends. A notification that was attempted or is parked has a
-- dedicated workflow from then on (`dedicated_workflow`): no batch takes it.
CREATE FUNCTION ledger_refresh_v1(ids uuid[], released uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    is_due     boolean;
    found      uuid[];
    accepted   timestamptz[];
    lanes      smallint[];
    strategies text[];
    to_scrub   uuid[];
    one        record;
BEGIN
    SELECT array_agg(id), array_agg(accepted_at), array_agg(lane), array_agg(strategy),
           array_agg(id) FILTER (WHERE scrub)
    INTO found, accepted, lanes, strategies, to_scrub FROM notifications WHERE id = ANY(ids);
    WITH derived AS (
        SELECT n.id, n.lane, n.strategy, max(d.status) AS status, min(d.due_at) AS due_at,
               (array_agg(d.reason_code ORDER BY d.status DESC, d.position))[1] AS reason_code,
               bool_or(d.attempts_made > 0 OR d.pass_number > 0
                       OR d.status IN ('outcome_unknown', 'dead_lettered')) AS dedicated_workflow
        FROM unnest(found, accepted, lanes, strategies) AS n (id, accepted_at, lane, strategy)
             -- One key look-up each, whatever the statistics say: a plain join may scan all deliveries.
             CROSS JOIN LATERAL (SELECT * FROM deliveries d
                                 WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id OFFSET 0) d
        GROUP BY n.id, n.lane, n.strategy
    ), changed AS (
        UPDATE notifications n
        SET status = derived.status,
            reason_code = derived.reason_code,
            final_at = CASE WHEN derived.due_at IS NULL THEN COALESCE(n.final_at, now()) END
        FROM derived
        WHERE n.id = ANY(ids) AND n.id = derived.id
          AND (n.status, n.reason_code, n.final_at IS NULL)
              IS DISTINCT FROM (derived.status, derived.reason_code, derived.due_at IS NOT NULL)
        RETURNING n.broadcast_id, old.status AS status_before, new.status AS status_after
    ), tallied AS (
        INSERT INTO broadcast_tallies (broadcast_id, status, change)
        SELECT changed.broadcast_id, tally.status, sum(tally.change)
        FROM changed CROSS JOIN LATERAL (
            VALUES (changed.status_before, -1), (changed.status_after, 1)) AS tally (status, change)
        WHERE changed.broadcast_id IS NOT NULL AND changed.status_before <> changed.status_after
        GROUP BY changed.broadcast_id, tally.status
    ), removed AS (
        DELETE FROM due USING derived
        WHERE due.id = ANY(ids) AND due.id = derived.id AND derived.due_at IS NULL
    ), queued AS (
        INSERT INTO due (id, lane, due_at, dedicated_workflow)
        SELECT id, lane, due_at, dedicated_workflow OR strategy = 'first' FROM derived WHERE due_at IS NOT NULL
        ON CONFLICT (id) DO UPDATE
        SET due_at = CASE WHEN due.id = ANY(released) THEN excluded.due_at
                          ELSE GREATEST(excluded.due_at, due.lease_until) END,
            lease_until = CASE WHEN due.id = ANY(released) THEN NULL ELSE due.lease_until END,
            batch_id = CASE WHEN due.id = ANY(released) THEN NULL ELSE due.batch_id END,
            dedicated_workflow = due.dedicated_workflow OR excluded.dedicated_workflow
        RETURNING due_at
    )
    SELECT COALESCE(bool_or(due_at <= clock_timestamp()), false) INTO is_due FROM queued;
    -- One key look-up each: together they would be a scan from the oldest to the newest.
    FOR one IN SELECT id, accepted_at FROM notifications WHERE id = ANY(to_scrub) AND final_at IS NOT NULL LOOP
        UPDATE notification_contents c SET title = NULL, body = '', scrubbed_at = now()
        WHERE c.accepted_at = one.accepted_at AND c.notification_id = one.id AND c.scrubbed_at IS NULL;
    END LOOP;
    IF is_due THEN
        PERFORM pg_notify('herald_due', '');
    END IF;
    -- Finished by another process: a workflow may still be waiting for it.
    PERFORM pg_notify('herald_wake', id::text) FROM notifications WHERE id = ANY(released) AND final_at IS NOT NULL;
END $$;
-- step: ledger_close_v1
-- The outcome of an attempt, and the change of its delivery.
CREATE TYPE attempt_outcome_v1 AS (
    notification_id     uuid,
    delivery_id         uuid,
    number              smallint,
    version             integer,
    outcome             text,
    code                text,
    http_status         smallint,
    provider_message_id text,
    latency_ms          integer,
    resolved_by         text,
    status              text,
    reason_code         text,
    pass_number         smallint,
    next_pass_at        timestamptz,
    due_at              timestamptz,
    release             boolean,
    event               text,
    data                text
);

-- Close the open attempt (or, without an outcome, record why it stays open) and update its delivery. No row: another
-- process resolved the attempt; the statement record_late_outcome then keeps the outcome.
CREATE FUNCTION ledger_close_v1(outcomes attempt_outcome_v1[])
RETURNS TABLE (id uuid, version integer, status status)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first            uuid[];
    oldest           timestamptz;
    newest           timestamptz;
    notification_ids uuid[];
    delivery_ids     uuid[];
    released         uuid[];
BEGIN
    SELECT array_agg(notification_id), array_agg(delivery_id),
           COALESCE(array_agg(notification_id) FILTER (WHERE release), '{}')
    INTO notification_ids, delivery_ids, released FROM unnest(outcomes);
    first := ledger_lock_v1(notification_ids);
    -- The months of the attempts: other partitions are not opened. Without OFFSET 0, a plan that was made while the
    -- table was small would look for the oldest by reading the table in the order of accepted_at.
    SELECT min(accepted_at), max(accepted_at) INTO oldest, newest
    FROM (SELECT accepted_at FROM deliveries d WHERE d.id = ANY(delivery_ids) OFFSET 0) own;
    RETURN QUERY
    WITH input AS (
        SELECT * FROM unnest(outcomes)
    ), closed AS (
        UPDATE notification_attempts a
        SET outcome = input.outcome,
            code = COALESCE(input.code, a.code),
            http_status = COALESCE(input.http_status, a.http_status),
            provider_message_id = COALESCE(input.provider_message_id, a.provider_message_id),
            latency_ms = COALESCE(input.latency_ms, a.latency_ms),
            resolved_by = CASE WHEN input.outcome IS NOT NULL THEN input.resolved_by END,
            closed_at = CASE WHEN input.outcome IS NOT NULL THEN clock_timestamp() END
        FROM input JOIN deliveries d
          ON d.id = ANY(delivery_ids) AND d.id = input.delivery_id AND d.version = input.version
        WHERE a.delivery_id = ANY(delivery_ids)
          AND a.delivery_id = input.delivery_id AND a.number = input.number AND a.accepted_at = d.accepted_at
          AND a.accepted_at BETWEEN oldest AND newest
          -- It is open. Written so that the primary key is used, not a scan of all open attempts.
          AND COALESCE(a.outcome, '') = ''
        RETURNING a.delivery_id, a.number, a.accepted_at, a.provider, a.outcome, a.provider_message_id,
                  input.status::status AS status, input.reason_code, input.pass_number, input.next_pass_at,
                  input.due_at, input.event, input.data
    ), message AS (
        INSERT INTO provider_messages (provider, provider_message_id, delivery_id, attempt_number, accepted_at)
        SELECT provider, provider_message_id, delivery_id, number, accepted_at
        FROM closed WHERE provider_message_id IS NOT NULL AND outcome = 'accepted'
    ), next AS (
        -- A receipt of an earlier attempt may have arrived while this one was under way: `delivered` wins.
        SELECT closed.*, COALESCE(receipt.delivered, false) AS delivered
        FROM closed LEFT JOIN LATERAL (
            SELECT true AS delivered FROM notification_attempts a
            WHERE closed.outcome IS NOT NULL AND a.delivery_id = closed.delivery_id
              AND a.accepted_at = closed.accepted_at AND a.accepted_at BETWEEN oldest AND newest
              AND a.receipt_status = 'delivered'
            LIMIT 1
        ) receipt ON true
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = CASE WHEN next.delivered THEN 'delivered' ELSE next.status END,
            reason_code = CASE WHEN NOT next.delivered THEN next.reason_code END,
            pass_number = COALESCE(next.pass_number, d.pass_number),
            next_pass_at = COALESCE(next.next_pass_at, d.next_pass_at),
            due_at = CASE WHEN NOT next.delivered THEN next.due_at END
        FROM next
        -- Without ANY(delivery_ids): the planner expects one row of `next`, and would read them all for each.
        WHERE d.id = next.delivery_id
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.status, d.reason_code,
                  CASE WHEN d.status = next.status THEN next.event END AS event, next.data
    ), recorded AS (
        INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
        SELECT notification_id, accepted_at, event, channel,
               jsonb_strip_nulls(jsonb_build_object('reason_code', reason_code)) || data::jsonb
        FROM updated WHERE event IS NOT NULL
    )
    SELECT id, version, status FROM updated;
    IF cardinality(first) > 0 THEN
        PERFORM ledger_advance_v1(first);
    END IF;
    PERFORM ledger_refresh_v1(notification_ids, released);
END $$;
-- step: ledger_intend_v1
-- A sender's intent to call a provider.
CREATE TYPE intent_v1 AS (
    notification_id    uuid,
    delivery_id        uuid,
    version            integer,
    provider           text,
    budget_s           float8,
    visibility_delay_s float8,
    device_id          text,
    address            text,
    target_masked      text,
    match_key          text,
    selection          text,
    required           boolean
);

-- Set a delivery to `sending` and record its attempt, if the delivery has the version that the sender saw and is
-- sendable, due, unexpired and wanted. No row: it changed in the meantime; read it again.
-- The time is taken after the locks are granted: now() is the transaction's start, which may be much earlier.
CREATE FUNCTION ledger_intend_v1(intents intent_v1[])
RETURNS TABLE (id uuid, number smallint, intended_at timestamptz, send_deadline timestamptz, version integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment           timestamptz;
    notification_ids uuid[];
    delivery_ids     uuid[];
BEGIN
    SELECT array_agg(notification_id), array_agg(delivery_id) INTO notification_ids, delivery_ids FROM unnest(intents);
    PERFORM ledger_lock_v1(notification_ids);
    moment := clock_timestamp();
    RETURN QUERY
    WITH input AS (
        SELECT * FROM unnest(intents)
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = 'sending',
            reason_code = NULL,
            attempts_made = d.attempts_made + 1,
            due_at = moment + make_interval(secs => input.budget_s + input.visibility_delay_s)
        FROM input
        WHERE d.id = ANY(delivery_ids)
          AND d.id = input.delivery_id
          AND d.version = input.version
          AND d.status IN ('accepted', 'scheduled', 'deferred')
          AND d.next_pass_at <= moment
          AND d.expires_at > moment
          AND (input.required OR NOT (SELECT opted_out FROM is_opted_out_v1(d.tenant, d.user_id, d.channel, d.type)))
          AND NOT (SELECT suppressed FROM is_suppressed_v1(d.tenant, d.channel, input.address))
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.pass_number,
                  d.attempts_made AS number, moment AS intended_at,
                  moment + make_interval(secs => input.budget_s) AS send_deadline,
                  input.provider, input.device_id, input.target_masked, input.selection, input.match_key
    ), attempted AS (
        INSERT INTO notification_attempts (
            delivery_id, number, accepted_at, notification_id, channel, provider, pass_number, device_id,
            target_masked, selection, match_key, intended_at, send_deadline
        )
        SELECT id, number, accepted_at, notification_id, channel, provider, pass_number, device_id,
               target_masked, selection::jsonb, match_key, intended_at, send_deadline
        FROM updated
    )
    SELECT id, number, intended_at, send_deadline, version FROM updated;
    PERFORM ledger_refresh_v1(notification_ids, '{}');
END $$;
-- step: ledger_renew_v1
-- A sender's intent to make the same call again, for an attempt that is still open.
CREATE TYPE renewal_v1 AS (
    notification_id    uuid,
    delivery_id        uuid,
    number             smallint,
    version            integer,
    budget_s           float8,
    visibility_delay_s float8,
    key_life_s         float8,
    address            text,
    required           boolean
);

-- Allow the same call again: its provider takes our idempotency key and sends only once. The attempt gets a new
-- deadline, so that no other process acts in the meantime. It is refused when the delivery is no longer wanted, or when
-- the provider may have forgotten the key. No row: read again.
CREATE FUNCTION ledger_renew_v1(renewal renewal_v1)
RETURNS TABLE (number smallint, intended_at timestamptz, send_deadline timestamptz, version integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    PERFORM ledger_lock_v1(ARRAY[renewal.notification_id]);
    moment := clock_timestamp();
    RETURN QUERY
    WITH renewed AS (
        UPDATE notification_attempts a
        -- Without a code it belongs to its sender again.
        SET send_deadline = moment + make_interval(secs => renewal.budget_s), code = NULL
        FROM deliveries d
        WHERE d.id = renewal.delivery_id AND d.version = renewal.version AND d.status = 'sending'
          AND d.expires_at > moment
          AND a.delivery_id = renewal.delivery_id AND a.number = renewal.number AND a.accepted_at = d.accepted_at
          AND COALESCE(a.outcome, '') = ''
          AND a.intended_at + make_interval(secs => renewal.key_life_s - renewal.budget_s) > moment
          AND (renewal.required
               OR NOT (SELECT opted_out FROM is_opted_out_v1(d.tenant, d.user_id, d.channel, d.type)))
          AND NOT (SELECT suppressed FROM is_suppressed_v1(d.tenant, d.channel, renewal.address))
        RETURNING a.delivery_id, a.number, a.intended_at, a.send_deadline
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            due_at = renewed.send_deadline + make_interval(secs => renewal.visibility_delay_s)
        FROM renewed WHERE d.id = renewal.delivery_id
        RETURNING d.id, d.version
    )
    SELECT renewed.number, renewed.intended_at, renewed.send_deadline, updated.version
    FROM renewed JOIN updated ON updated.id = renewed.delivery_id;
    PERFORM ledger_refresh_v1(ARRAY[renewal.notification_id], '{}');
END $$;
-- step: ledger_update_v1
-- Change a delivery without sending: a deferral, a suppression, an expiry, an operator's command.
-- It needs the version that the caller saw and no open attempt. No row: another process changed the delivery.
CREATE FUNCTION ledger_update_v1(updates delivery_update_v1[])
RETURNS TABLE (id uuid, version integer, status status)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first            uuid[];
    notification_ids uuid[];
    delivery_ids     uuid[];
    released         uuid[];
BEGIN
    SELECT array_agg(notification_id), array_agg(delivery_id),
           COALESCE(array_agg(notification_id) FILTER (WHERE release), '{}')
    INTO notification_ids, delivery_ids, released FROM unnest(updates);
    first := ledger_lock_v1(notification_ids);
    RETURN QUERY
    WITH input AS (
        SELECT * FROM unnest(updates)
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = input.status::status,
            reason_code = input.reason_code,
            pass_number = CASE WHEN input.new_round THEN d.pass_number + 1
                               ELSE COALESCE(input.pass_number, d.pass_number) END,
            round_pass = CASE WHEN input.new_round THEN d.pass_number + 1 ELSE d.round_pass END,
            next_pass_at = COALESCE(input.next_pass_at, d.next_pass_at),
            expires_at = COALESCE(input.expires_at, d.expires_at),
            due_at = input.due_at
        FROM input
        WHERE d.id = ANY(delivery_ids) AND d.id = input.delivery_id AND d.version = input.version
          AND d.status <> 'sending'
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.status, d.reason_code,
                  input.event, input.data
    ), recorded AS (
        INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
        SELECT notification_id, accepted_at, event, channel,
               jsonb_strip_nulls(jsonb_build_object('reason_code', reason_code)) || data::jsonb
        FROM updated WHERE event IS NOT NULL
    )
    SELECT id, version, status FROM updated;
    IF cardinality(first) > 0 THEN
        PERFORM ledger_advance_v1(first);
    END IF;
    PERFORM ledger_refresh_v1(notification_ids, released);
END $$;
-- step: postponed_receipt_v1
-- A receipt of the inbox that matches no attempt yet. It is due again after `wait_s` seconds; without them it becomes
-- an orphan.
CREATE TYPE postponed_receipt_v1 AS (
    provider  text,
    event_key text,
    wait_s    float8
);
-- step: receipt_v1
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
-- step: setting_v1
-- A user's opt-in or opt-out.
CREATE TYPE setting_v1 AS (
    type    text,
    channel text,
    enabled boolean
);
-- step: submission_key_v1
-- The fields that identify a notification for its client, and the id that is derived from them.
CREATE TYPE submission_key_v1 AS (
    id              uuid,
    tenant          text,
    user_id         text,
    type            text,
    idempotency_key text
);
-- step: submission_v1
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
-- step: suppression_key_v1
-- How the suppression list spells an address: as `suppression_key` in Python, so also independent of the database's
-- locale.
CREATE FUNCTION suppression_key_v1(channel text, address text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE channel
               WHEN 'email' THEN lower(address COLLATE pg_unicode_fast)
               WHEN 'push' THEN split_part(address, '#', 1)
               ELSE address
           END COLLATE "default"
$$;
