-- name: create_api_key
-- Store an API key. Storing the same key again makes it valid again, with what is given now. Returns no row when
-- another key has the same prefix.
INSERT INTO api_keys (prefix, tenant, name, digest, scopes, test, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (prefix) DO UPDATE
SET revoked_at = NULL, scopes = excluded.scopes, expires_at = excluded.expires_at
WHERE api_keys.digest = excluded.digest AND api_keys.tenant IS NOT DISTINCT FROM excluded.tenant
    AND api_keys.test = excluded.test
RETURNING prefix, tenant, name, scopes, test, created_at, created_by, expires_at, last_used_at, revoked_at

-- name: find_api_key
-- The holder and the digest of a key that is not revoked, and how long it is valid yet, in seconds.
SELECT tenant, name, digest, scopes, test, expires_at, extract(epoch FROM expires_at - now())::float8 AS valid_s
FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL

-- name: hold_api_key
-- Whether a key is valid now; it cannot be revoked until this transaction ends.
SELECT true FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FOR SHARE

-- name: revoke_api_key
-- Revoke a valid key: of a tenant if one is given, and a test key if only these are allowed.
UPDATE api_keys SET revoked_at = now()
WHERE prefix = $1 AND revoked_at IS NULL AND ($2::text IS NULL OR tenant = $2) AND (test OR NOT $3)
RETURNING prefix, tenant, name, scopes, test, created_at, created_by, expires_at, last_used_at, revoked_at

-- name: note_use_of_api_keys
-- These keys were used.
UPDATE api_keys SET last_used_at = now() WHERE prefix = ANY ($1::text[])

-- name: list_api_keys
-- A page of all API keys, newest first. $1 and $2: where the previous page ended. The first page starts at the end of
-- time, so that one condition on the index serves every page.
SELECT prefix, tenant, name, scopes, test, created_at, created_by, expires_at, last_used_at, revoked_at
FROM api_keys
WHERE (created_at, prefix) < (COALESCE($1, 'infinity'::timestamptz), COALESCE($2, ''))
ORDER BY created_at DESC, prefix DESC
LIMIT $3

-- name: list_api_keys_of_tenant
-- A page of a tenant's API keys, newest first, as list_api_keys. $5: its test keys only.
SELECT prefix, tenant, name, scopes, test, created_at, created_by, expires_at, last_used_at, revoked_at
FROM api_keys
WHERE tenant = $4 AND (test OR NOT $5)
    AND (created_at, prefix) < (COALESCE($1, 'infinity'::timestamptz), COALESCE($2, ''))
ORDER BY created_at DESC, prefix DESC
LIMIT $3
