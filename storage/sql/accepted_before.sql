-- What is stored of notifications that were accepted before, by what the client named them with: their
-- ids are derived from it, and its unique constraint holds even if the secret of that derivation changes.
SELECT asked.id AS asked, n.id, n.fingerprint, n.fingerprint_key_id, n.fingerprint_version
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
     AS asked (id, tenant, user_id, type, idempotency_key)
JOIN notifications n USING (tenant, user_id, type, idempotency_key)
