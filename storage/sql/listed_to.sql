-- The last of those $2 that a page of listed.sql looked at; no row if it looked at all there are.
SELECT n.id, n.accepted_at
FROM notifications n
WHERE n.tenant = $1 /* places */
ORDER BY n.accepted_at DESC, n.id DESC
OFFSET $2::bigint - 1 LIMIT 1
