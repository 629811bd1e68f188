-- name: claim_due
-- Claim up to $2 due notifications of one lane for $3 seconds. The claim pushes due_at forward by the lease, so that
-- what is not updated in time is due again. Its token distinguishes its holder from a later one.
-- Tenants take turns, from the one after turn $10 on: each with something due gets its share of $2, by its weight, and
-- the first of each come first. $6 are turns with their weight ($7) and the most that each may get ($8); others weigh
-- 1 and get at most $9.
-- $4 says which kinds: those with a dedicated workflow, those that a batch may take; each kind has its own order in
-- the index. Of the latter, the turns in $5 are left to batches. A handed-over notification is due only so that its
-- workflow starts; afterwards use its deliveries' due time, not the lease.
-- The commit does not wait for the disk. A claim that a crash undoes is due again, and the next process that acts on
-- it finds the workflow running, or the delivery as the first one left it.
WITH turns AS (
    SELECT found.dedicated_workflow, found.turn, found.place, COALESCE(own.weight, 1) AS weight,
           LEAST(ceil($2::float8 * COALESCE(own.weight, 1) / sum(COALESCE(own.weight, 1)) OVER ()),
                 CASE WHEN own.turn IS NULL THEN $9 ELSE own.room END)::bigint AS share
    FROM due_turns_v1($1, $4, $10, 4000) AS found
         LEFT JOIN unnest($6::integer[], $7::integer[], $8::integer[]) AS own (turn, weight, room)
         ON own.turn = found.turn
    WHERE found.dedicated_workflow OR found.turn <> ALL($5::integer[])
), picked AS (
    SELECT next.id, next.due_at,
           row_number() OVER (ORDER BY ceil(next.place::float8 / turns.weight), turns.place) AS place
    FROM turns,
         LATERAL (SELECT id, due_at, row_number() OVER (ORDER BY due_at) AS place
                  FROM (SELECT id, due_at FROM due
                        WHERE lane = $1 AND due.dedicated_workflow = turns.dedicated_workflow
                          AND due.turn = turns.turn AND due_at <= now()
                        ORDER BY due_at LIMIT turns.share FOR UPDATE SKIP LOCKED) due) next
    ORDER BY place LIMIT $2
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
ORDER BY picked.place

-- name: claim_batch
-- Like claim_due, for a batch: claims what needs no dedicated workflow, and returns no details. $5: the turns that it
-- takes; NULL: all. $6, $7 and $8: turns, their weights, and the most that each may get; $9: the turn before the first.
-- Its commit does not wait for the disk either.
WITH turns AS (
    SELECT found.turn, found.place, COALESCE(own.weight, 1) AS weight,
           LEAST(ceil($2::float8 * COALESCE(own.weight, 1) / sum(COALESCE(own.weight, 1)) OVER ()),
                 own.room)::bigint AS share
    FROM due_turns_v1($1, '{false}', $9, 4000) AS found
         LEFT JOIN unnest($6::integer[], $7::integer[], $8::integer[]) AS own (turn, weight, room)
         ON own.turn = found.turn
    WHERE $5::integer[] IS NULL OR found.turn = ANY($5::integer[])
), picked AS (
    SELECT next.id, next.due_at, turns.turn,
           row_number() OVER (ORDER BY ceil(next.place::float8 / turns.weight), turns.place) AS place
    FROM turns,
         LATERAL (SELECT id, due_at, row_number() OVER (ORDER BY due_at) AS place
                  FROM (SELECT id, due_at FROM due
                        WHERE lane = $1 AND dedicated_workflow = false AND due.turn = turns.turn
                          AND due_at <= now()
                        ORDER BY due_at LIMIT turns.share FOR UPDATE SKIP LOCKED) due) next
    ORDER BY place LIMIT $2
), claimed AS (
    UPDATE due
    SET claim = gen_random_uuid(),
        batch_id = $4,
        lease_until = now() + make_interval(secs => $3),
        due_at = now() + make_interval(secs => $3)
    WHERE due.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING due.id, due.claim
)
SELECT id, claim, turn, EXTRACT(EPOCH FROM now() - due_at)::float8 AS late_s,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM claimed JOIN picked USING (id) ORDER BY place

-- name: hand_over_claims
-- Release claims that a batch does not continue: due at once, for a dedicated workflow where the row says so, if the
-- claim is still current. An entry that another process is writing is skipped, and is due after its lease.
WITH input AS (
    SELECT * FROM unnest($1::hand_over_v1[])
), held AS (
    SELECT entry.id, input.dedicated_workflow
    FROM (SELECT * FROM input ORDER BY id) input
         CROSS JOIN LATERAL (SELECT id FROM due WHERE due.id = input.id AND due.claim = input.claim
                             FOR UPDATE SKIP LOCKED) entry
), handed_over AS (
    UPDATE due
    SET due_at = now(), lease_until = NULL, batch_id = NULL,
        dedicated_workflow = due.dedicated_workflow OR due.id IN (SELECT id FROM held WHERE dedicated_workflow)
    WHERE due.id = ANY(ARRAY(SELECT id FROM held))
    RETURNING due.id
)
SELECT id, (SELECT pg_notify('herald_due', '')) FROM handed_over

-- name: give_back_claim
-- Make a claim that could not be acted on due again in $3 seconds, if it is still the current one.
UPDATE due SET due_at = now() + make_interval(secs => $3), lease_until = NULL WHERE id = $1 AND claim = $2

-- name: count_backlog
-- How many notifications of each lane and turn are due that a batch may take, counted up to $2. $3: the turn
-- before the first.
SELECT input.lane, found.turn, (SELECT count(*) FROM (
    SELECT FROM due
    WHERE due.lane = input.lane AND dedicated_workflow = false AND due.turn = found.turn AND due_at <= now()
    LIMIT $2) AS counted) AS count
FROM unnest($1::smallint[]) AS input (lane) CROSS JOIN LATERAL due_turns_v1(input.lane, '{false}', $3, 4000) AS found
