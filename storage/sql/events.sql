-- Decisions about one notification that left no other row.
SELECT at, kind, channel, data FROM timeline
WHERE notification_id = $1 AND accepted_at = $2 ORDER BY seq
