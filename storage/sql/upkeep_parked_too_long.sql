-- Parked deliveries whose time was over more than $1 seconds ago and that nobody ended, $2 at most.
SELECT count(*) FROM (
    SELECT FROM notifications n JOIN deliveries d ON d.notification_id = n.id
    WHERE n.status IN ('outcome_unknown', 'dead_lettered')
      AND d.state IN ('outcome_unknown', 'dead_lettered')
      AND d.due_at < now() - make_interval(secs => $1)
    LIMIT $2
) late
