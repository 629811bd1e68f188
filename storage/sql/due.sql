-- name: claim_due
-- Claim up to $2 due notifications of one lane for $3 seconds. The claim pushes due_at forward by the lease, so that
-- what is not updated in time is due again. Its token distinguishes its holder from a later one.
-- $4 says which kinds: those with a dedicated workflow, those that a batch may take; each kind has its own order in
-- the index. A handed-over notification is due only so that its workflow starts; afterwards use its deliveries' due
-- time, not the lease.
-- The commit does not wait for the disk. A claim that a crash undoes is due again, and the next process that acts on
-- it finds the workflow running, or the delivery as the first one left it.
WITH picked AS (
    SELECT next.id, next.due_at
    FROM unnest($4::boolean[]) AS kind (dedicated_workflow),
         LATERAL (SELECT id, due_at FROM due
                  WHERE lane = $1 AND due.dedicated_workflow = kind.dedicated_workflow AND due_at <= now()
                  ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) next
    ORDER BY next.due_at LIMIT $2
), claimed AS (
    UPDATE due
    SET claim = gen_random_uuid(),
        batch_id = NULL,
        lease_until = now() + make_interval(secs => $3),
        due_at = GREATEST(
            now() + make_interval(secs => $3),
            (SELECT (SELECT min(d.due_at) FROM deliveries d
                     WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id)
             FROM notifications n WHERE n.id = due.id))
    WHERE due.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING due.id, due.claim
)
SELECT n.id, n.tenant, n.type, n.lane, claimed.claim,
       EXTRACT(EPOCH FROM now() - picked.due_at)::float8 AS late_s,
       (SELECT array_agg(channel ORDER BY position) FROM deliveries d
        WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id) AS channels,
       addresses_v1(held.c, owner.u) AS addresses,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM claimed JOIN picked USING (id) JOIN notifications n USING (id)
-- One look-up per notification, in its month, as in load_notifications.
LEFT JOIN LATERAL (SELECT c FROM notification_contents c
                   WHERE c.accepted_at = n.accepted_at AND c.notification_id = n.id LIMIT 1) held ON true
LEFT JOIN LATERAL (SELECT u FROM users u WHERE u.tenant = n.tenant AND u.user_id = n.user_id LIMIT 1) owner ON true
WHERE n.id = ANY(ARRAY(SELECT id FROM picked))

-- name: claim_batch
-- Like claim_due, for a batch: claims what needs no dedicated workflow, and returns no details. Its commit does not
-- wait for the disk either.
WITH picked AS (
    SELECT id, due_at FROM due WHERE lane = $1 AND dedicated_workflow = false AND due_at <= now()
    ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE due
    SET claim = gen_random_uuid(),
        batch_id = $4,
        lease_until = now() + make_interval(secs => $3),
        due_at = now() + make_interval(secs => $3)
    WHERE due.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING due.id, due.claim
)
SELECT id, claim, EXTRACT(EPOCH FROM now() - due_at)::float8 AS late_s,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM claimed JOIN picked USING (id) ORDER BY due_at

-- name: hand_over_claims
-- Release claims that a batch does not continue: due at once, for a dedicated workflow where the row says so, if the
-- claim is still current. An entry that another process is writing is skipped, and is due after its lease.
WITH input AS (
    SELECT * FROM unnest($1::hand_over_v1[])
), held AS (
    SELECT due.id, input.dedicated_workflow
    FROM input
    JOIN due ON due.id = ANY(ARRAY(SELECT id FROM input)) AND due.id = input.id AND due.claim = input.claim
    ORDER BY due.id FOR UPDATE OF due SKIP LOCKED
), handed_over AS (
    UPDATE due
    SET due_at = now(), lease_until = NULL, batch_id = NULL,
        dedicated_workflow = due.dedicated_workflow OR held.dedicated_workflow
    FROM held WHERE due.id = ANY(ARRAY(SELECT id FROM input)) AND due.id = held.id
    RETURNING due.id
)
SELECT id, (SELECT pg_notify('herald_due', '')) FROM handed_over

-- name: give_back_claim
-- Make a claim that could not be acted on due again in $3 seconds, if it is still the current one.
UPDATE due SET due_at = now() + make_interval(secs => $3), lease_until = NULL WHERE id = $1 AND claim = $2

-- name: count_backlog
-- How many notifications of each lane are due that a batch may take, counted up to $2.
SELECT lane, (SELECT count(*) FROM (
    SELECT FROM due
    WHERE due.lane = input.lane AND dedicated_workflow = false AND due_at <= now() LIMIT $2) AS found) AS count
FROM unnest($1::smallint[]) AS input (lane)
