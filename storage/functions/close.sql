-- The outcome: closes the open attempt (or, without an outcome, notes why it stays open) and moves its
-- delivery on. No row back: somebody else resolved the attempt; storage/sql/late.sql keeps what we know.
CREATE OR REPLACE FUNCTION ledger_close(
    notification_ids uuid[], released uuid[], delivery_ids uuid[], nos smallint[], versions integer[],
    outcomes text[], codes text[], http_statuses smallint[],
    message_ids text[], latencies_ms integer[], resolved text[], states text[], reason_codes text[],
    pass_nos smallint[], next_passes_at timestamptz[], dues_at timestamptz[], events text[], datas text[]
) RETURNS TABLE (id uuid, version integer, state status)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first  uuid[];
    oldest timestamptz;
    newest timestamptz;
BEGIN
    first := ledger_lock(notification_ids);
    -- Of which months the attempts are: the other partitions are not even opened.
    SELECT min(d.accepted_at), max(d.accepted_at) INTO oldest, newest FROM deliveries d WHERE d.id = ANY(delivery_ids);
    RETURN QUERY
    WITH want AS (
        SELECT * FROM unnest(
            delivery_ids, nos, versions, outcomes, codes, http_statuses, message_ids,
            latencies_ms, resolved, states, reason_codes, pass_nos, next_passes_at,
            dues_at, events, datas
        ) AS t (
            delivery_id, no, version, outcome, code, http_status, provider_message_id, latency_ms,
            resolved_by, state, reason_code, pass_no, next_pass_at, due_at,
            event, data
        )
    ), closed AS (
        UPDATE notification_attempts a
        SET outcome = want.outcome,
            code = COALESCE(want.code, a.code),
            http_status = COALESCE(want.http_status, a.http_status),
            provider_message_id = COALESCE(want.provider_message_id, a.provider_message_id),
            latency_ms = COALESCE(want.latency_ms, a.latency_ms),
            resolved_by = CASE WHEN want.outcome IS NOT NULL THEN want.resolved_by END,
            closed_at = CASE WHEN want.outcome IS NOT NULL THEN clock_timestamp() END
        FROM want JOIN deliveries d ON d.id = ANY(delivery_ids) AND d.id = want.delivery_id AND d.version = want.version
        WHERE a.delivery_id = ANY(delivery_ids)
          AND a.delivery_id = want.delivery_id AND a.no = want.no AND a.accepted_at = d.accepted_at
          AND a.accepted_at BETWEEN oldest AND newest
          -- It is open. Said so that the primary key is used, and not a walk over everything that is open.
          AND COALESCE(a.outcome, '') = ''
        RETURNING a.delivery_id, a.no, a.accepted_at, a.provider, a.outcome, a.provider_message_id,
                  want.state::status AS state, want.reason_code, want.pass_no, want.next_pass_at, want.due_at,
                  want.event, want.data
    ), message AS (
        INSERT INTO provider_messages (provider, provider_message_id, delivery_id, no, accepted_at)
        SELECT provider, provider_message_id, delivery_id, no, accepted_at
        FROM closed WHERE provider_message_id IS NOT NULL AND outcome = 'accepted'
    ), next AS (
        -- A receipt of an earlier attempt may have come while this one was under way: `delivered` wins.
        SELECT closed.*, COALESCE(receipt.delivered, false) AS delivered
        FROM closed LEFT JOIN LATERAL (
            SELECT true AS delivered FROM notification_attempts a
            WHERE closed.outcome IS NOT NULL AND a.delivery_id = closed.delivery_id
              AND a.accepted_at = closed.accepted_at AND a.accepted_at BETWEEN oldest AND newest AND a.receipt_status = 'delivered'
            LIMIT 1
        ) receipt ON true
    ), moved AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            state = CASE WHEN next.delivered THEN 'delivered' ELSE next.state END,
            reason_code = CASE WHEN NOT next.delivered THEN next.reason_code END,
            pass_no = COALESCE(next.pass_no, d.pass_no),
            next_pass_at = COALESCE(next.next_pass_at, d.next_pass_at),
            due_at = CASE WHEN NOT next.delivered THEN next.due_at END
        FROM next
        WHERE d.id = ANY(delivery_ids) AND d.id = next.delivery_id
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.state, d.reason_code,
                  CASE WHEN d.state = next.state THEN next.event END AS event, next.data
    ), told AS (
        INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
        SELECT notification_id, accepted_at, event, channel,
               jsonb_strip_nulls(jsonb_build_object('reason_code', reason_code)) || data::jsonb
        FROM moved WHERE event IS NOT NULL
    )
    SELECT id, version, state FROM moved;
    IF cardinality(first) > 0 THEN
        PERFORM ledger_advance(first);
    END IF;
    PERFORM ledger_refresh(notification_ids, released);
END $$;
