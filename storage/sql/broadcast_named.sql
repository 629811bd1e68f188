-- What is stored under a broadcast's key: its id may have been derived with another secret. The tenant is kept
-- from the planner, which would otherwise walk through all of a tenant's broadcasts while it knows no better.
SELECT id, fingerprint, fingerprint_key_id, fingerprint_version
FROM broadcasts WHERE idempotency_key = $2 AND tenant || '' = $1
