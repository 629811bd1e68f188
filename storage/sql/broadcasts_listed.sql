-- A page of a tenant's broadcasts, newest first; $3 and $4 are where the page before ended.
SELECT id, created_at FROM broadcasts
WHERE tenant = $1 AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
ORDER BY created_at DESC, id DESC
LIMIT $2
