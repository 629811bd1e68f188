-- Somebody comes back to it in so many seconds; if nobody does, it is due.
UPDATE broadcasts SET due_at = now() + make_interval(secs => $2)
WHERE id = $1 AND ended_at IS NULL AND state NOT IN ('draft', 'paused')
