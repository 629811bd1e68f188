-- name: list_old_partitions
-- Partitions of months older than $1 whole months, in the order in which they may be dropped: attempts before what
-- belongs to them. A month in which a live notification was accepted (a long schedule) is kept whole. Partitions
-- whose removal was interrupted are listed too: `leaving` their table, or `apart` from it.
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

-- name: remove_old_messages
-- Remove old rows of provider_messages, at most $2, once the month's attempts are gone: from months older than
-- $1 whole months and older than any partition that is left. A month that is kept also keeps the
-- rows of later months, so that no round scans rows that it must not remove.
WITH old AS (
    SELECT ctid FROM provider_messages
    WHERE accepted_at < LEAST(
        date_trunc('month', now()) - make_interval(months => $1),
        (SELECT min(to_timestamp(right(child.relname, 7), 'YYYY_MM'))
         FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = 'notification_attempts'::regclass))
    ORDER BY accepted_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM provider_messages
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM old))
    RETURNING provider
)
SELECT count(*) FROM removed

-- name: remove_old_notifications
-- Remove the oldest notifications that are over, at most $2, of months older than $1 whole months, with their
-- deliveries. Their keys may then be used again. It goes tenant by tenant, because the index in this order begins
-- with the tenant, and no index is kept for this alone.
WITH RECURSIVE tenants AS (
    (SELECT tenant FROM notifications ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT n.tenant FROM notifications n WHERE n.tenant > tenants.tenant ORDER BY n.tenant LIMIT 1)
    FROM tenants WHERE tenants.tenant IS NOT NULL
), old AS MATERIALIZED (
    SELECT found.id
    FROM tenants,
         LATERAL (SELECT n.id FROM notifications n
                  WHERE n.tenant = tenants.tenant
                    AND n.accepted_at < date_trunc('month', now()) - make_interval(months => $1)
                    AND n.final_at IS NOT NULL AND n.status < 'outcome_unknown'
                  ORDER BY n.accepted_at, n.id LIMIT $2) found
    LIMIT $2
), locked AS MATERIALIZED (
    SELECT n.id, n.accepted_at FROM notifications n
    WHERE n.id = ANY(ARRAY(SELECT id FROM old)) AND n.final_at IS NOT NULL AND n.status < 'outcome_unknown'
      AND (SELECT true FROM due WHERE due.id = n.id) IS NULL
    ORDER BY n.id
    FOR UPDATE SKIP LOCKED
), parts AS (
    DELETE FROM deliveries WHERE id = ANY(ARRAY(
        SELECT d.id
        FROM locked, LATERAL (SELECT id FROM deliveries
                              WHERE accepted_at = locked.accepted_at AND notification_id = locked.id OFFSET 0) d))
), removed AS (
    DELETE FROM notifications WHERE id = ANY(ARRAY(SELECT id FROM locked)) RETURNING id
)
SELECT count(*) FROM removed
