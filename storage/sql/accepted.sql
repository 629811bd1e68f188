-- What is stored of notifications that were accepted before.
SELECT id, fingerprint, fingerprint_key_id, fingerprint_version
FROM notifications WHERE id = ANY($1::uuid[])
