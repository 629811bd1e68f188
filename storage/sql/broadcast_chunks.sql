-- name: gather_recipients
-- Look at the next $2 users of a query, and make recipients of those that match. Each step is one statement, so that
-- a repeated step starts where the previous one ended.
WITH b AS (
    SELECT id, tenant, query, gathered_to, total FROM broadcasts
    WHERE id = $1 AND status = 'running' AND gathered_to IS NOT NULL
    FOR NO KEY UPDATE
), looked_at AS (
    SELECT u.user_id, u.phone, u.email, u.whatsapp, u.time_zone
    FROM b, LATERAL (
        SELECT * FROM users WHERE users.tenant = b.tenant AND users.user_id > b.gathered_to
        ORDER BY users.user_id LIMIT $2
    ) u
), matching AS (
    SELECT l.user_id, row_number() OVER (ORDER BY l.user_id) AS place
    FROM looked_at l, b
    WHERE (b.query ->> 'time_zone' IS NULL OR l.time_zone = b.query ->> 'time_zone')
      AND CASE b.query ->> 'has_contact'
          WHEN 'sms' THEN l.phone IS NOT NULL
          WHEN 'email' THEN l.email IS NOT NULL
          WHEN 'whatsapp' THEN COALESCE(l.whatsapp, l.phone) IS NOT NULL
          -- One key look-up per user: EXISTS may become a join that reads the whole table.
          WHEN 'push' THEN (
              SELECT true FROM devices d WHERE d.tenant = b.tenant AND d.user_id = l.user_id
                AND COALESCE(d.fcm_token, d.apns_token, d.webpush) IS NOT NULL LIMIT 1)
          ELSE true END
      AND (b.query -> 'setting' IS NULL OR b.query -> 'setting' = 'null' OR (
          SELECT s.enabled = (b.query -> 'setting' ->> 'enabled')::boolean FROM user_notification_settings s
          WHERE s.tenant = b.tenant AND s.user_id = l.user_id
            AND s.channel = b.query -> 'setting' ->> 'channel' AND s.type = b.query -> 'setting' ->> 'type'))
), added AS (
    INSERT INTO broadcast_recipients (broadcast_id, upload, number, user_id)
    SELECT b.id, 0, b.total + matching.place, matching.user_id FROM matching, b
)
UPDATE broadcasts
SET total = b.total + (SELECT count(*) FROM matching),
    gathered_to = CASE WHEN (SELECT count(*) FROM looked_at) = $2 THEN (SELECT max(user_id) FROM looked_at) END,
    due_at = now() + make_interval(secs => $3)
FROM b WHERE broadcasts.id = b.id
RETURNING broadcasts.gathered_to IS NULL AS whole

-- name: next_recipients
-- The next recipients of a broadcast, in order.
SELECT number, user_id, addresses, data
FROM broadcast_recipients
WHERE broadcast_id = $1 AND upload = $2 AND number > $3
ORDER BY number
LIMIT $4

-- name: lock_broadcast
-- Before a chunk is accepted, in its transaction: lock a running broadcast whose cursor is where the chunk begins.
-- No row: it was paused or cancelled, or another process accepted this chunk.
SELECT id FROM broadcasts WHERE id = $1 AND status = 'running' AND cursor = $2 FOR NO KEY UPDATE

-- name: advance_broadcast
-- A chunk was accepted: remove its recipients, store its refusals and notifications, advance the cursor.
-- The rate counts from the time at which the previous chunk allowed this one, so that a late chunk does not slow
-- the others.
WITH removed AS (
    DELETE FROM broadcast_recipients WHERE broadcast_id = $1 AND upload = $2 AND number > $3 AND number <= $4
), chunk AS (
    INSERT INTO broadcast_chunks (broadcast_id, last_number, notification_ids)
    SELECT $1, $4, $5::uuid[] WHERE cardinality($5::uuid[]) > 0
), refusals AS (
    INSERT INTO broadcast_refusals (broadcast_id, upload, number, code, pointer, message)
    SELECT $1, $2, number, code, pointer, message FROM unnest($6::broadcast_refusal_v1[])
)
UPDATE broadcasts
SET cursor = $4,
    accepted = accepted + cardinality($5::uuid[]),
    refused = refused + cardinality($6::broadcast_refusal_v1[]),
    next_at = GREATEST(next_at, now() - interval '1 second')
              + make_interval(secs => COALESCE(cardinality($5::uuid[]) / rate_per_s, 0)),
    due_at = now() + make_interval(secs => $7)
WHERE id = $1

-- name: end_broadcast
-- End a running broadcast, if its cursor has not advanced since the caller read it.
UPDATE broadcasts SET status = $3, reason_code = $4
WHERE id = $1 AND status = 'running' AND cursor = $2
RETURNING id

-- name: abandon_draft
-- Cancel a draft whose audience was not uploaded, unless another upload has begun. COALESCE: otherwise a plan made
-- while there were few broadcasts would look through the index of all that are due.
UPDATE broadcasts SET status = 'cancelled', reason_code = $2
WHERE id = $1 AND status = 'draft' AND COALESCE(due_at < now() + interval '1 hour', false)
RETURNING id

-- name: clear_recipients
-- Remove at most $2 recipients of a broadcast that is over: those that will not be accepted, and those of uploads
-- that were cut short.
DELETE FROM broadcast_recipients WHERE ctid = ANY(ARRAY(
    SELECT r.ctid
    FROM broadcasts b JOIN broadcast_recipients r ON r.broadcast_id = b.id
    WHERE b.id = $1 AND b.status IN ('completed', 'cancelled')
    LIMIT $2
))
RETURNING number

-- name: finish_broadcast
-- Record that a broadcast is over, and remove the refusals of uploads that were cut short.
WITH removed AS (
    DELETE FROM broadcast_refusals r USING broadcasts b
    WHERE b.id = $1 AND r.broadcast_id = $1 AND r.upload <> b.upload
)
UPDATE broadcasts SET ended_at = now(), due_at = NULL
WHERE id = $1 AND status IN ('completed', 'cancelled') AND ended_at IS NULL

-- name: expect_broadcast
-- A worker continues the broadcast within $2 seconds; otherwise it becomes due.
UPDATE broadcasts SET due_at = now() + make_interval(secs => $2)
WHERE id = $1 AND ended_at IS NULL AND status NOT IN ('draft', 'paused')

-- name: next_unstopped_chunk
-- The next chunk of a cancelled broadcast, after $2, that may still contain notifications to stop.
SELECT last_number, notification_ids FROM broadcast_chunks
WHERE broadcast_id = $1 AND last_number > $2 AND NOT stopped
ORDER BY last_number LIMIT 1

-- name: mark_chunk_stopped
-- Nothing more of this chunk will be sent.
UPDATE broadcast_chunks SET stopped = true WHERE broadcast_id = $1 AND last_number = $2

-- name: claim_broadcasts
-- Claim at most $1 due broadcasts for $2 seconds.
UPDATE broadcasts SET due_at = now() + make_interval(secs => $2)
WHERE id = ANY(ARRAY(
    SELECT id FROM broadcasts WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
))
RETURNING id, tenant, type, channels

-- name: list_unfolded_tallies
-- At most $2 broadcasts with more than $1 rows of tallies.
SELECT broadcast_id FROM broadcast_tallies GROUP BY broadcast_id HAVING count(*) > $1 LIMIT $2

-- name: fold_tallies
-- Fold a broadcast's tallies: the same sums in fewer rows. Two processes at once each fold the rows that they delete.
WITH old AS (
    DELETE FROM broadcast_tallies WHERE broadcast_id = $1 RETURNING status, change
)
INSERT INTO broadcast_tallies (broadcast_id, status, change)
SELECT $1, status, sum(change) FROM old GROUP BY status HAVING sum(change) <> 0
