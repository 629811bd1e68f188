-- What attempts learn from receipts: how far the message came, whose it is, that an open attempt was
-- accepted after all, that one closed as not accepted was. An outcome once recorded never changes.
WITH want AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::smallint[], $3::timestamptz[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
        $8::boolean[], $9::text[], $10::boolean[]
    ) AS t (
        delivery_id, no, accepted_at, receipt_status, receipt_code, receipt_at, provider_message_id,
        closes, resolved_by, late
    )
), learnt AS (
    UPDATE notification_attempts a
    SET receipt_status = COALESCE(want.receipt_status, a.receipt_status),
        receipt_code = CASE WHEN want.receipt_status IS NULL THEN a.receipt_code ELSE want.receipt_code END,
        receipt_at = COALESCE(want.receipt_at, a.receipt_at),
        provider_message_id = COALESCE(a.provider_message_id, want.provider_message_id),
        outcome = CASE WHEN want.closes AND a.outcome IS NULL THEN 'accepted' ELSE a.outcome END,
        resolved_by = CASE WHEN want.closes AND a.outcome IS NULL THEN want.resolved_by ELSE a.resolved_by END,
        closed_at = CASE WHEN want.closes AND a.outcome IS NULL THEN clock_timestamp() ELSE a.closed_at END,
        late_outcome = CASE WHEN want.late THEN 'accepted' ELSE a.late_outcome END,
        late_at = CASE WHEN want.late THEN clock_timestamp() ELSE a.late_at END
    FROM want
    WHERE a.delivery_id = want.delivery_id AND a.no = want.no AND a.accepted_at = want.accepted_at
    RETURNING a.provider, want.provider_message_id, a.delivery_id, a.no, a.accepted_at
)
INSERT INTO provider_messages (provider, provider_message_id, delivery_id, no, accepted_at)
SELECT provider, provider_message_id, delivery_id, no, accepted_at
FROM learnt WHERE provider_message_id IS NOT NULL
ORDER BY provider, provider_message_id
ON CONFLICT DO NOTHING
