-- Pause, resume or cancel: compare and set. Whoever carries it on is woken; a paused one is left alone.
UPDATE broadcasts
SET state = $4,
    reason_code = $5,
    due_at = CASE WHEN $4 <> 'paused' THEN now() END
WHERE id = $1 AND tenant = $2 AND state = ANY($3::text[]) AND ended_at IS NULL
RETURNING id, pg_notify('herald_broadcasts', '')
