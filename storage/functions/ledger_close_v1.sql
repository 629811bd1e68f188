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
