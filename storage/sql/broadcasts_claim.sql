-- Broadcasts that somebody must come back to, for so many seconds ($2); at most $1.
UPDATE broadcasts SET due_at = now() + make_interval(secs => $2)
WHERE id = ANY(ARRAY(
    SELECT id FROM broadcasts WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
))
RETURNING id, tenant, type, channels
