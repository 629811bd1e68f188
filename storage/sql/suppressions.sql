-- A page of a tenant's suppressed addresses.
SELECT channel, address, reason, source, created_at FROM suppressions
WHERE tenant = $1
  AND ($2::text IS NULL OR channel = $2)
  AND ($3::text IS NULL OR address = $3)
  AND ($4::text IS NULL OR (channel, address) > ($4, $5))
ORDER BY channel, address LIMIT $6
