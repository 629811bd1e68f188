-- An outcome that came after its attempt had been resolved without it: kept beside, never instead.
UPDATE notification_attempts a
SET late_outcome = $3, late_at = clock_timestamp(), provider_message_id = COALESCE(a.provider_message_id, $4)
FROM deliveries d
WHERE d.id = $1 AND a.delivery_id = d.id AND a.no = $2 AND a.accepted_at = d.accepted_at AND a.outcome IS NOT NULL
RETURNING a.outcome
