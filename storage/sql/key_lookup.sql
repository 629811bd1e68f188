-- Whose a key is that is still good, and its digest.
SELECT tenant, digest FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL
