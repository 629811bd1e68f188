-- Nothing is expected of it any more; what uploads that were cut short had refused is of no use.
WITH gone AS (
    DELETE FROM broadcast_refusals r USING broadcasts b
    WHERE b.id = $1 AND r.broadcast_id = $1 AND r.upload <> b.upload
)
UPDATE broadcasts SET ended_at = now(), due_at = NULL
WHERE id = $1 AND state IN ('completed', 'cancelled') AND ended_at IS NULL
