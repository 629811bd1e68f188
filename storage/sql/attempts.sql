-- name: list_attempts
-- The attempts of one notification, in order; those by SMS with their segments and expected cost.
SELECT a.channel, a.number, a.provider, a.pass_number, a.device_id, a.target_masked,
       a.selection - 'sms' AS selection,
       (a.selection -> 'sms' ->> 'segments')::integer AS segments, a.selection -> 'sms' ->> 'encoding' AS encoding,
       a.selection -> 'sms' ->> 'cost' AS cost, a.selection -> 'sms' ->> 'currency' AS currency, a.intended_at,
       a.send_deadline, a.outcome, a.code, a.http_status, a.provider_message_id, a.resolved_by,
       a.latency_ms, a.closed_at, a.receipt_status, a.receipt_code, a.receipt_at, a.late_outcome, a.late_at
FROM notifications n
-- One key look-up each, whatever the statistics say: a plain join may read all that were accepted at the same time.
CROSS JOIN LATERAL (SELECT * FROM deliveries d
                    WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id OFFSET 0) d
CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                    WHERE a.delivery_id = d.id AND a.accepted_at = d.accepted_at OFFSET 0) a
WHERE n.id = $1
ORDER BY a.intended_at, d.position, a.number

-- name: record_late_outcome
-- Record an outcome that arrived after its attempt was resolved, beside the recorded one, which stays. The message
-- of a late acceptance becomes this attempt's: no look-up adopts it, and its receipts find the attempt.
WITH kept AS (
    UPDATE notification_attempts a
    -- What proved that it was accepted stays.
    SET late_outcome = CASE WHEN a.late_outcome = 'accepted' THEN a.late_outcome ELSE $3 END,
        late_at = clock_timestamp(),
        provider_message_id = COALESCE(a.provider_message_id, $4)
    FROM deliveries d
    WHERE d.id = $1 AND a.delivery_id = d.id AND a.number = $2 AND a.accepted_at = d.accepted_at
      AND a.outcome IS NOT NULL
    RETURNING a.delivery_id, a.number, a.accepted_at, a.provider, a.outcome
), message AS (
    INSERT INTO provider_messages (provider, provider_message_id, delivery_id, attempt_number, accepted_at)
    SELECT provider, $4, delivery_id, number, accepted_at
    FROM kept WHERE $3 = 'accepted' AND $4 IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT outcome FROM kept

-- name: find_claimed_messages
-- Which of these messages of a provider already belong to an attempt.
SELECT provider_message_id FROM provider_messages
WHERE provider = $1 AND provider_message_id = ANY($2::text[])

-- name: count_indistinguishable_attempts
-- Other open attempts with the same text to the same address, which a look-up cannot distinguish.
SELECT count(*) FROM notification_attempts
WHERE match_key = $1 AND outcome IS NULL AND delivery_id <> $2

-- name: has_attempts
-- Whether any attempt was ever made.
SELECT EXISTS (SELECT FROM notification_attempts)
