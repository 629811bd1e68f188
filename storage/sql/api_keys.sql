-- name: create_api_key
-- Store an API key. Storing the same key again makes it valid again. Returns no row when another key has the
-- same prefix.
INSERT INTO api_keys (prefix, tenant, name, digest) VALUES ($1, $2, $3, $4)
ON CONFLICT (prefix) DO UPDATE SET revoked_at = NULL
WHERE api_keys.digest = excluded.digest AND api_keys.tenant = excluded.tenant
RETURNING prefix

-- name: find_api_key
-- The holder and the digest of a valid key.
SELECT tenant, name, digest FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL

-- name: revoke_api_key
-- Revoke a valid key.
UPDATE api_keys SET revoked_at = now() WHERE prefix = $1 AND revoked_at IS NULL
RETURNING prefix, tenant, name, created_at, revoked_at

-- name: list_api_keys
-- Every API key, newest first.
SELECT prefix, tenant, name, created_at, revoked_at FROM api_keys ORDER BY created_at DESC
