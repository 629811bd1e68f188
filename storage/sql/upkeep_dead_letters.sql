-- What waits for an operator, and since when its oldest was accepted.
SELECT tenant, type, status, count(*) AS count,
       EXTRACT(epoch FROM now() - min(accepted_at))::float8 AS oldest_age_s
FROM notifications
WHERE status IN ('outcome_unknown', 'dead_lettered')
GROUP BY tenant, type, status
ORDER BY tenant, type, status
