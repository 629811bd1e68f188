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
