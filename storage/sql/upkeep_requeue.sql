-- Live notifications that lost their place in the queue get it back: when their deliveries say, or now.
-- A notification that is being written at this moment is left to its writer.
WITH lost AS (
    SELECT n.id, n.lane FROM notifications n
    WHERE (n.final_at IS NULL OR n.status >= 'outcome_unknown')
      AND n.accepted_at < now() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM due WHERE due.id = n.id)
      AND EXISTS (SELECT FROM deliveries d
                  WHERE d.notification_id = n.id AND (d.due_at IS NOT NULL OR d.state >= 'outcome_unknown'))
    ORDER BY n.accepted_at LIMIT $1
    FOR NO KEY UPDATE OF n SKIP LOCKED
)
INSERT INTO due (id, lane, due_at)
SELECT id, lane, GREATEST(now(), (SELECT min(due_at) FROM deliveries d WHERE d.notification_id = lost.id))
FROM lost
ON CONFLICT DO NOTHING
RETURNING id, (SELECT pg_notify('herald_due', ''))
