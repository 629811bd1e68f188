-- How many notifications wait for an operator.
SELECT count(*) FROM notifications WHERE status IN ('outcome_unknown', 'dead_lettered')
