-- Partitions of months older than $1 whole months, in the order in which they may go: attempts before what
-- hangs on them. A month in which something still live was accepted (a long schedule) is kept whole. Those
-- whose removal was cut off are told too: `leaving` their table, or `apart` from it.
SELECT format('%I.%I', space.nspname, parent.relname) AS parent,
       format('%I.%I', space.nspname, child.relname) AS name,
       CASE WHEN inhrelid IS NULL THEN 'apart' WHEN inhdetachpending THEN 'leaving' ELSE 'attached' END AS state
FROM unnest(ARRAY['notification_attempts', 'receipts', 'timeline', 'notification_contents'])
     WITH ORDINALITY AS kind (name, rank)
JOIN pg_class parent ON parent.oid = to_regclass(kind.name)
JOIN pg_namespace space ON space.oid = parent.relnamespace
JOIN pg_class child ON child.relnamespace = parent.relnamespace AND child.relkind = 'r'
                   AND child.relname ~ ('^' || kind.name || '_[0-9]{4}_[0-9]{2}$')
LEFT JOIN pg_inherits ON inhrelid = child.oid AND inhparent = parent.oid,
     LATERAL (SELECT to_timestamp(substring(child.relname FROM '_([0-9]{4}_[0-9]{2})$'), 'YYYY_MM')) AS month (start)
WHERE month.start < date_trunc('month', now()) - make_interval(months => $1)
  AND NOT EXISTS (
      SELECT FROM notifications
      WHERE (final_at IS NULL OR status >= 'outcome_unknown')
        AND accepted_at >= month.start AND accepted_at < month.start + interval '1 month')
ORDER BY month.start, kind.rank
