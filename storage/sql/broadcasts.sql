-- name: create_broadcast
-- A new broadcast; no row if its key was used before. One whose audience is known starts at once.
INSERT INTO broadcasts (
    id, tenant, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version, status, type, channels, strategy,
    title, body, data, metadata, audience, query, gathered_to, rate_per_s, window_start, window_end, window_zone,
    start_at, expires_at, total, started_at, due_at
)
SELECT id, tenant, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version, status, type, channels,
       strategy, title, body, data::jsonb, metadata::jsonb, audience, query::jsonb,
       CASE WHEN audience = 'query' THEN '' END, rate_per_s, window_start, window_end, window_zone, start_at,
       expires_at, total, CASE WHEN status = 'running' THEN now() END,
       now() + CASE WHEN status = 'running' THEN interval '0' ELSE make_interval(secs => draft_kept_s) END
FROM unnest(ARRAY[$1::broadcast_v1])
ON CONFLICT DO NOTHING
RETURNING id, (CASE WHEN status = 'running' THEN pg_notify('herald_broadcasts', '') END)

-- name: find_broadcast_by_key
-- The broadcast that is stored under a key; its id may have been derived with another secret. `tenant || ''` keeps
-- the planner from scanning all of a tenant's broadcasts when it has no statistics.
SELECT id, fingerprint, fingerprint_key_id, fingerprint_version
FROM broadcasts WHERE idempotency_key = $2 AND tenant || '' = $1

-- name: broadcast_view
-- Broadcasts, with the current statuses of their notifications.
SELECT b.id, b.tenant, b.idempotency_key, b.fingerprint, b.fingerprint_key_id, b.fingerprint_version, b.status,
       b.reason_code, b.type, b.channels, b.strategy, b.title, b.body, b.data, b.metadata, b.audience, b.query,
       b.rate_per_s, b.window_start, b.window_end, b.window_zone, b.start_at, b.expires_at, b.upload, b.digest,
       b.gathered_to, b.total, b.accepted, b.refused, b.cursor, b.next_at, b.created_at, b.started_at, b.ended_at,
       now() AS now,
       b.status <> 'cancelled' OR (
            SELECT true FROM broadcast_chunks c WHERE c.broadcast_id = b.id AND NOT c.stopped LIMIT 1
       ) IS NULL AS stopped,
       (SELECT json_object_agg(status, change) FROM (
            SELECT status, sum(change)::bigint AS change FROM broadcast_tallies
            WHERE broadcast_id = b.id GROUP BY status) t) AS changes
FROM broadcasts b
WHERE b.id = ANY($1::uuid[])

-- name: list_broadcasts
-- A page of a tenant's broadcasts, newest first. $3 and $4: where the previous page ended. The first page starts at the
-- end of time, so that one condition on the index serves every page.
SELECT id, created_at FROM broadcasts
WHERE tenant = $1 AND (created_at, id) < (COALESCE($3, 'infinity'::timestamptz),
                                       COALESCE($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: apply_broadcast_command
-- Pause, resume or cancel a broadcast, if its status allows it, and wake its worker. A paused one is never due. Returns
-- the status that it had.
UPDATE broadcasts b
SET status = $4,
    reason_code = $5,
    due_at = CASE WHEN $4 <> 'paused' THEN now() END
FROM (SELECT id, status FROM broadcasts WHERE id = $1 FOR NO KEY UPDATE) old
WHERE b.id = $1 AND b.tenant = $2 AND b.status = ANY($3::text[]) AND b.ended_at IS NULL
RETURNING old.status, pg_notify('herald_broadcasts', '')

-- name: begin_upload
-- Begin an upload of a draft's audience. It has its own rows, and the draft is not abandoned for $3 seconds.
UPDATE broadcasts SET upload = upload + 1, due_at = now() + make_interval(secs => $3)
WHERE id = $1 AND tenant = $2 AND audience = 'upload' AND status = 'draft'
RETURNING upload

-- name: end_upload
-- The upload is complete and still the newest: it becomes the audience, and the broadcast runs.
UPDATE broadcasts
SET status = 'running', total = $3, refused = $4, digest = $5, started_at = now(), due_at = now()
WHERE id = $1 AND upload = $2 AND status = 'draft'
RETURNING id, pg_notify('herald_broadcasts', '')

-- name: add_recipients
-- Add recipients of one upload, or of a list.
INSERT INTO broadcast_recipients (broadcast_id, upload, number, user_id, addresses, data)
SELECT $1, $2, number, user_id, addresses::jsonb, data::jsonb FROM unnest($3::broadcast_recipient_v1[])

-- name: add_refusals
-- Record lines that were not accepted, and why. A line that was recorded before stays unchanged.
INSERT INTO broadcast_refusals (broadcast_id, upload, number, code, pointer, message)
SELECT $1, $2, number, code, pointer, message FROM unnest($3::broadcast_refusal_v1[])
ON CONFLICT DO NOTHING

-- name: list_refusals
-- A page of the lines of an upload that were not accepted, in order, after line $3.
SELECT number, code, pointer, message
FROM broadcast_refusals
WHERE broadcast_id = $1 AND upload = $2 AND number > $3
ORDER BY number
LIMIT $4
