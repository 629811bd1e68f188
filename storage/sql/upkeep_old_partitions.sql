-- Partitions of months older than $1 whole months, as they may be dropped: attempts before what hangs on
-- them. A month in which something still live was accepted (a long schedule) is kept whole.
SELECT format('%I.%I', space.nspname, child.relname) AS name
FROM pg_inherits
JOIN pg_class child ON child.oid = inhrelid
JOIN pg_class parent ON parent.oid = inhparent
JOIN pg_namespace space ON space.oid = child.relnamespace
JOIN unnest(ARRAY['notification_attempts', 'receipts', 'timeline', 'notification_contents'])
     WITH ORDINALITY AS kind (name, rank) ON kind.name = parent.relname,
     LATERAL (SELECT to_timestamp(right(child.relname, 7), 'YYYY_MM')) AS month (start)
WHERE child.relkind = 'r'
  AND month.start < date_trunc('month', now()) - make_interval(months => $1)
  AND NOT EXISTS (
      SELECT FROM notifications
      WHERE (final_at IS NULL OR status >= 'outcome_unknown')
        AND accepted_at >= month.start AND accepted_at < month.start + interval '1 month')
ORDER BY month.start, kind.rank
