-- Store an API key. The same key again is good again; one that only shares its prefix is somebody else's,
-- and returns no row.
INSERT INTO api_keys (prefix, tenant, name, digest) VALUES ($1, $2, $3, $4)
ON CONFLICT (prefix) DO UPDATE SET revoked_at = NULL
WHERE api_keys.digest = excluded.digest AND api_keys.tenant = excluded.tenant
RETURNING prefix
