-- A page of a tenant's suppressed addresses. storage/people.py puts the conditions that are asked for in place
-- of the marker, so that each combination is a statement with a plan of its own.
SELECT channel, address, reason, source, created_at FROM suppressions
WHERE tenant = $1 /* conditions */
ORDER BY channel, address LIMIT $2
