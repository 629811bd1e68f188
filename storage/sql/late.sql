-- An outcome that came after its attempt had been resolved without it: kept beside, never instead. The
-- message of an accepted one is this attempt's, so that no look-up adopts it and its receipts find their way.
WITH kept AS (
    UPDATE notification_attempts a
    SET late_outcome = $3, late_at = clock_timestamp(),
        provider_message_id = COALESCE(a.provider_message_id, $4)
    FROM deliveries d
    WHERE d.id = $1 AND a.delivery_id = d.id AND a.no = $2 AND a.accepted_at = d.accepted_at
      AND a.outcome IS NOT NULL
    RETURNING a.delivery_id, a.no, a.accepted_at, a.provider, a.outcome
), message AS (
    INSERT INTO provider_messages (provider, provider_message_id, delivery_id, no, accepted_at)
    SELECT provider, $4, delivery_id, no, accepted_at
    FROM kept WHERE $3 = 'accepted' AND $4 IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT outcome FROM kept
