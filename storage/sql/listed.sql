-- A page of a tenant's notifications, newest first: of those $3 that an index gives from there on, those that
-- match. storage/reads.py puts both kinds of condition in place of the markers, so that each combination is a
-- statement with a plan of its own.
SELECT n.id, n.accepted_at
FROM (
    SELECT * FROM notifications n
    WHERE n.tenant = $1 /* places */
    ORDER BY n.accepted_at DESC, n.id DESC
    LIMIT $3
) n
WHERE true /* conditions */
ORDER BY n.accepted_at DESC, n.id DESC
LIMIT $2
