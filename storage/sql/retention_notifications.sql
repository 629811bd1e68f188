-- The oldest notifications that are over, of months older than $1 whole months, at most $2 of them: forgotten
-- with their deliveries, and with them that their keys were used. Tenant by tenant, for the index that has
-- their order has every tenant's own; no other is kept for this alone.
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
    SELECT n.id FROM notifications n
    WHERE n.id = ANY(ARRAY(SELECT id FROM old)) AND n.final_at IS NOT NULL AND n.status < 'outcome_unknown'
      AND (SELECT true FROM due WHERE due.id = n.id) IS NULL
    ORDER BY n.id
    FOR UPDATE SKIP LOCKED
), parts AS (
    DELETE FROM deliveries WHERE notification_id = ANY(ARRAY(SELECT id FROM locked))
), gone AS (
    DELETE FROM notifications WHERE id = ANY(ARRAY(SELECT id FROM locked)) RETURNING id
)
SELECT count(*) FROM gone
