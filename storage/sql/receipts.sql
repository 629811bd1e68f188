-- name: store_receipts
-- Store verified callbacks in the inbox. One that is already there returns no row.
INSERT INTO receipt_inbox (
    provider, event_key, provider_message_id, delivery_id, attempt_number, status, code, permanent, address_verdict,
    occurred_at
)
SELECT provider, event_key, provider_message_id, delivery_id, attempt_number, status, code, permanent, address_verdict,
       occurred_at
FROM unnest($1::inbox_receipt_v1[])
ON CONFLICT DO NOTHING
RETURNING provider, event_key, (SELECT pg_notify('herald_receipts', ''))

-- name: claim_receipts
-- Due receipts, locked until this transaction ends, each with its attempt if that is known: by the reference that the
-- provider carried back, else by the provider's message. With $2 and $3, only the receipt that they name; otherwise
-- the first $1. $4: for how many seconds they must have been due.
-- The transaction's commit does not wait for the disk: a receipt whose removal a crash undoes is in the inbox again.
WITH first AS (
    SELECT * FROM receipt_inbox
    WHERE $2::text IS NULL AND orphaned_at IS NULL AND due_at <= now() - make_interval(secs => $4)
    ORDER BY due_at LIMIT $1
    FOR UPDATE SKIP LOCKED
), named AS (
    SELECT * FROM (SELECT * FROM receipt_inbox WHERE provider = $2 AND event_key = $3 OFFSET 0 FOR UPDATE SKIP LOCKED) i
    WHERE orphaned_at IS NULL AND due_at <= now() - make_interval(secs => $4)
)
SELECT i.provider, i.event_key, i.status, i.code, i.permanent, i.address_verdict, i.provider_message_id,
       i.occurred_at, i.received_at, i.tries, a.notification_id, a.delivery_id, a.number, a.accepted_at,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM (SELECT * FROM first UNION ALL SELECT * FROM named) i
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT a.notification_id, a.delivery_id, a.number, a.accepted_at, 0 AS rank
        FROM deliveries d
             -- OFFSET 0 here and below: one key look-up each, whatever the statistics say. A plain join may read a
             -- whole table or month, if it was empty or small when it was last analysed.
             CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                                 WHERE a.delivery_id = d.id AND a.number = i.attempt_number
                                   AND a.accepted_at = d.accepted_at OFFSET 0) a
        WHERE d.id = i.delivery_id AND a.provider = i.provider
        UNION ALL
        SELECT a.notification_id, a.delivery_id, a.number, a.accepted_at, 1
        FROM provider_messages m
             CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                                 WHERE a.delivery_id = m.delivery_id AND a.number = m.attempt_number
                                   AND a.accepted_at = m.accepted_at OFFSET 0) a
        WHERE m.provider = i.provider AND m.provider_message_id = i.provider_message_id
    ) found ORDER BY rank LIMIT 1
) a ON true
ORDER BY i.due_at

-- name: find_receipt_attempts
-- The attempts that polled receipts are about.
SELECT a.notification_id, a.delivery_id, a.number, a.accepted_at, a.provider, now() AS received_at
FROM unnest($1::uuid[], $2::smallint[]) AS input (delivery_id, number)
     CROSS JOIN LATERAL (SELECT * FROM deliveries d WHERE d.id = input.delivery_id OFFSET 0) d
     CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                         WHERE a.delivery_id = d.id AND a.number = input.number
                           AND a.accepted_at = d.accepted_at OFFSET 0) a

-- name: keep_receipts
-- Keep receipts as evidence. One that was kept before returns no row, and is not applied again.
INSERT INTO receipts (
    delivery_id, attempt_number, provider, event_key, accepted_at, status, code, permanent, occurred_at, received_at,
    source
)
SELECT delivery_id, attempt_number, provider, event_key, accepted_at, status, code, permanent, occurred_at, received_at,
       source
FROM unnest($1::receipt_v1[])
ON CONFLICT DO NOTHING
RETURNING delivery_id, provider, event_key

-- name: read_deliveries
-- Deliveries with their attempts (one row per attempt) and what decides whether they can be sent again.
SELECT d.id, d.notification_id, d.tenant, d.type, d.channel, d.position, d.status, d.reason_code, d.version,
       d.pass_number, d.next_pass_at, d.expires_at, d.due_at, d.accepted_at, now() AS now,
       (c.notification_id IS NOT NULL AND c.scrubbed_at IS NULL) AS content_kept,
       a.number, a.provider, a.pass_number AS attempt_pass_number, a.device_id, a.intended_at, a.send_deadline,
       a.outcome, a.code, a.provider_message_id, a.match_key, a.receipt_status, a.late_outcome
FROM deliveries d
     CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                         WHERE a.delivery_id = d.id AND a.accepted_at = d.accepted_at OFFSET 0) a
     LEFT JOIN LATERAL (SELECT * FROM notification_contents c
                        WHERE c.accepted_at = d.accepted_at AND c.notification_id = d.notification_id OFFSET 0) c
     ON true
WHERE d.id = ANY($1::uuid[])
ORDER BY d.id, a.number

-- name: record_attempt_receipts
-- Record what receipts show about attempts: the progress and the id of the message, that an open attempt was accepted
-- after all, that an attempt closed as not accepted was in fact accepted. A recorded outcome never changes.
WITH input AS (
    SELECT * FROM unnest($1::attempt_receipt_v1[])
), recorded AS (
    UPDATE notification_attempts a
    SET receipt_status = COALESCE(input.receipt_status, a.receipt_status),
        receipt_code = CASE WHEN input.receipt_status IS NULL THEN a.receipt_code ELSE input.receipt_code END,
        receipt_at = COALESCE(input.receipt_at, a.receipt_at),
        provider_message_id = COALESCE(a.provider_message_id, input.provider_message_id),
        outcome = CASE WHEN input.closes AND a.outcome IS NULL THEN 'accepted' ELSE a.outcome END,
        resolved_by = CASE WHEN input.closes AND a.outcome IS NULL THEN input.resolved_by ELSE a.resolved_by END,
        closed_at = CASE WHEN input.closes AND a.outcome IS NULL THEN clock_timestamp() ELSE a.closed_at END,
        late_outcome = CASE WHEN input.late THEN 'accepted' ELSE a.late_outcome END,
        late_at = CASE WHEN input.late THEN clock_timestamp() ELSE a.late_at END
    FROM input
    WHERE a.delivery_id = ANY(ARRAY(SELECT delivery_id FROM input))
      -- The months of the attempts: other partitions are not opened.
      AND a.accepted_at BETWEEN (SELECT min(accepted_at) FROM input) AND (SELECT max(accepted_at) FROM input)
      AND a.delivery_id = input.delivery_id AND a.number = input.number AND a.accepted_at = input.accepted_at
    RETURNING a.provider, input.provider_message_id, a.delivery_id, a.number, a.accepted_at
)
INSERT INTO provider_messages (provider, provider_message_id, delivery_id, attempt_number, accepted_at)
SELECT provider, provider_message_id, delivery_id, number, accepted_at
FROM recorded WHERE provider_message_id IS NOT NULL
ORDER BY provider, provider_message_id
ON CONFLICT DO NOTHING

-- name: update_deliveries_by_receipts
-- Update deliveries by their receipts. Unlike ledger_update_v1 this may end `sending`: the same receipts
-- have just closed the open attempt.
WITH input AS (
    SELECT * FROM unnest($1::delivery_update_v1[])
), updated AS (
    UPDATE deliveries d
    SET version = d.version + 1,
        status = input.status::status,
        reason_code = input.reason_code,
        next_pass_at = COALESCE(input.next_pass_at, d.next_pass_at),
        due_at = input.due_at
    FROM input
    WHERE d.id = ANY(ARRAY(SELECT delivery_id FROM input)) AND d.id = input.delivery_id AND d.version = input.version
    RETURNING d.notification_id, d.accepted_at, d.channel, input.event, input.data
)
INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
SELECT notification_id, accepted_at, event, channel, data::jsonb FROM updated WHERE event IS NOT NULL

-- name: find_addresses
-- The addresses that attempts went to, as far as known: where the notification would go now. They may have changed
-- since; the caller compares them with what the attempts recorded.
SELECT a.delivery_id, a.number, d.tenant, d.user_id, d.channel, a.provider, a.device_id, a.target_masked,
       a.intended_at,
       CASE d.channel
           WHEN 'push' THEN
               CASE a.provider WHEN 'fcm' THEN v.fcm_token WHEN 'apns' THEN v.apns_token WHEN 'webpush' THEN v.webpush END
           -- Empty: the address came with the notification, and was removed when it expired.
           ELSE NULLIF(addresses_v1(held.c, owner.u) ->> d.channel, '')
       END AS address
FROM unnest($1::uuid[], $2::smallint[]) AS input (delivery_id, number)
     CROSS JOIN LATERAL (SELECT * FROM deliveries d WHERE d.id = input.delivery_id OFFSET 0) d
     CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                         WHERE a.delivery_id = d.id AND a.number = input.number
                           AND a.accepted_at = d.accepted_at OFFSET 0) a
     LEFT JOIN LATERAL (SELECT c FROM notification_contents c
                        WHERE c.accepted_at = d.accepted_at AND c.notification_id = d.notification_id LIMIT 1) held
     ON true
     LEFT JOIN LATERAL (SELECT u FROM users u WHERE u.tenant = d.tenant AND u.user_id = d.user_id LIMIT 1) owner
     ON true
     LEFT JOIN LATERAL (SELECT * FROM devices v
                        WHERE v.tenant = d.tenant AND v.user_id = d.user_id AND v.device_id = a.device_id
                          AND v.registered_at <= a.intended_at OFFSET 0) v
     ON true

-- name: remove_applied_receipts
-- Remove applied receipts from the inbox.
DELETE FROM receipt_inbox WHERE ctid = ANY(ARRAY(
    SELECT i.ctid
    FROM unnest($1::text[], $2::text[]) AS input (provider, event_key),
         LATERAL (SELECT ctid FROM receipt_inbox
                  WHERE provider = input.provider AND event_key = input.event_key OFFSET 0) i))

-- name: postpone_receipts
-- Make receipts that match no attempt yet due again after their wait. Those without a wait become orphans.
WITH input AS (
    SELECT input.*, i.ctid AS place
    FROM unnest($1::postponed_receipt_v1[]) AS input,
         LATERAL (SELECT ctid FROM receipt_inbox
                  WHERE provider = input.provider AND event_key = input.event_key OFFSET 0) i
)
UPDATE receipt_inbox i
SET tries = i.tries + 1,
    due_at = now() + make_interval(secs => COALESCE(input.wait_s, 0)),
    orphaned_at = CASE WHEN input.wait_s IS NULL THEN now() END
FROM input
WHERE i.ctid = ANY(ARRAY(SELECT place FROM input)) AND i.ctid = input.place

-- name: list_receipts
-- What providers reported about one notification.
SELECT d.channel, r.attempt_number AS number, r.provider, r.status, r.code, r.permanent, r.occurred_at, r.received_at,
       r.source
FROM notifications n
CROSS JOIN LATERAL (SELECT * FROM deliveries d
                    WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id OFFSET 0) d
CROSS JOIN LATERAL (SELECT * FROM receipts r
                    WHERE r.delivery_id = d.id AND r.accepted_at = d.accepted_at OFFSET 0) r
WHERE n.id = $1
ORDER BY r.received_at, r.event_key
