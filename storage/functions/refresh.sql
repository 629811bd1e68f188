-- The last step of every ledger write: the notifications' status, their content once it must go, and
-- their place in the queue follow from their deliveries. `released` are those whose claim is given back: nobody
-- holds them any more, so they are due when they say, and not only after the lease. What something was tried for,
-- or what is parked, has a workflow of its own from then on (`solo`): no page takes it.
CREATE OR REPLACE FUNCTION ledger_refresh(ids uuid[], released uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    is_due boolean;
    oldest timestamptz;
    newest timestamptz;
BEGIN
    -- Of which months contents may have to go: the other partitions are not even opened.
    SELECT min(accepted_at), max(accepted_at) INTO oldest, newest FROM notifications WHERE id = ANY(ids) AND scrub;
    WITH derived AS (
        SELECT d.notification_id AS id, max(d.state) AS status, min(d.due_at) AS due_at,
               (array_agg(d.reason_code ORDER BY d.state DESC, d.position))[1] AS reason_code,
               bool_or(d.attempts_made > 0 OR d.pass_no > 0 OR d.state IN ('outcome_unknown', 'dead_lettered')) AS solo
        FROM deliveries d WHERE d.notification_id = ANY(ids) GROUP BY d.notification_id
    ), shown AS (
        UPDATE notifications n
        SET status = derived.status,
            reason_code = derived.reason_code,
            final_at = CASE WHEN derived.due_at IS NULL THEN COALESCE(n.final_at, now()) END
        FROM derived
        WHERE n.id = derived.id
          AND (n.status, n.reason_code, n.final_at IS NULL)
              IS DISTINCT FROM (derived.status, derived.reason_code, derived.due_at IS NOT NULL)
        RETURNING n.id, n.accepted_at, n.final_at, n.scrub, n.broadcast_id, old.status AS was, new.status AS became
    ), tallied AS (
        INSERT INTO broadcast_tallies (broadcast_id, status, change)
        SELECT shown.broadcast_id, tally.status, sum(tally.change)
        FROM shown CROSS JOIN LATERAL (VALUES (shown.was, -1), (shown.became, 1)) AS tally (status, change)
        WHERE shown.broadcast_id IS NOT NULL AND shown.was <> shown.became
        GROUP BY shown.broadcast_id, tally.status
    ), scrubbed AS (
        UPDATE notification_contents c SET title = NULL, body = '', scrubbed_at = now()
        FROM shown
        WHERE c.notification_id = ANY(ids) AND c.notification_id = shown.id AND c.accepted_at = shown.accepted_at
          AND c.accepted_at BETWEEN oldest AND newest
          AND shown.scrub AND shown.final_at IS NOT NULL AND c.scrubbed_at IS NULL
    ), gone AS (
        DELETE FROM due USING derived WHERE due.id = derived.id AND derived.due_at IS NULL
    ), queued AS (
        INSERT INTO due (id, lane, due_at, solo)
        SELECT derived.id, n.lane, derived.due_at, derived.solo OR n.strategy = 'first'
        FROM derived JOIN notifications n USING (id) WHERE derived.due_at IS NOT NULL
        ON CONFLICT (id) DO UPDATE
        SET due_at = CASE WHEN due.id = ANY(released) THEN excluded.due_at
                          ELSE GREATEST(excluded.due_at, due.lease_until) END,
            lease_until = CASE WHEN due.id = ANY(released) THEN NULL ELSE due.lease_until END,
            page_id = CASE WHEN due.id = ANY(released) THEN NULL ELSE due.page_id END,
            solo = due.solo OR excluded.solo
        RETURNING due_at
    )
    SELECT COALESCE(bool_or(due_at <= clock_timestamp()), false) INTO is_due FROM queued;
    IF is_due THEN
        PERFORM pg_notify('herald_due', '');
    END IF;
    -- What was settled for good by somebody else: a workflow may still wait for it.
    PERFORM pg_notify('herald_wake', id::text) FROM notifications WHERE id = ANY(released) AND final_at IS NOT NULL;
END $$;
