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
