-- A page of a tenant's suppressed addresses. storage/people.py puts the conditions that are asked for in place
-- of the marker, so that each combination is a statement with a plan of its own. What people said to a sender of
-- all tenants (`*`) is shown to whoever names the address: the others' numbers are nobody's business.
SELECT channel, address, reason, source, created_at FROM suppressions
WHERE tenant /* of */ = $1 /* conditions */
ORDER BY channel, address LIMIT $2
