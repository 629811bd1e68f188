-- Write to an address again.
DELETE FROM suppressions WHERE tenant = $1 AND channel = $2 AND address = $3 RETURNING true
