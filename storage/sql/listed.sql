-- A page of a tenant's notifications, newest first. storage/reads.py puts the conditions that are asked
-- for in place of the marker, so that each combination is a statement with a plan of its own.
SELECT n.id, n.accepted_at
FROM notifications n
WHERE n.tenant = $1 /* conditions */
ORDER BY n.accepted_at DESC, n.id DESC
LIMIT $2
