-- name: lock_audit_log
-- Lock the end of the audit log, and read its last entry. The sequence is NULL while the log is empty.
SELECT sequence, hash, next_at FROM audit_head_v1()

-- name: append_audit_entries
-- Append entries to the audit log, whose end this transaction has locked.
INSERT INTO audit_log (
    sequence, at, actor, actor_name, tenant, action, subject, before, after, reason, request_id, previous, hash
)
SELECT sequence, at, actor, actor_name, tenant, action, subject, before::jsonb, after::jsonb, reason, request_id,
       previous, hash
FROM unnest($1::audit_entry_v1[])

-- name: list_audit_entries
-- A page of the audit log, newest first. storage/audit_queries.py replaces the marker with conditions, so that each
-- combination is a statement with its own plan.
SELECT sequence, at, actor, actor_name, tenant, action, subject, before::text AS before, after::text AS after, reason,
       request_id, previous, hash
FROM audit_log
WHERE true /* conditions */
ORDER BY at DESC, sequence DESC LIMIT $1

-- name: read_audit_chain
-- Every row of the audit log, whatever its number, in the order of the chain. A time that the table does not accept is
-- NULL: it may be one that no client can read.
SELECT sequence, CASE WHEN at >= '2000-01-01 00:00Z' AND at < '9999-01-01 00:00Z' THEN at END AS at,
       actor, actor_name, tenant, action, subject, before::text AS before, after::text AS after, reason, request_id,
       previous, hash
FROM audit_log ORDER BY sequence
