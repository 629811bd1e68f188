-- name: accept_notifications
-- Insert new notifications with their content, deliveries and due entries. A notification that exists already
-- returns no row; find_accepted_by_key reads it. $2: the private keys of the metadata, by the id of the notification.
WITH input AS (
    SELECT * FROM unnest($1::submission_v1[])
), accepted AS (
    INSERT INTO notifications (
        id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version,
        lane, strategy, scrub, status, accepted_at, send_at, expires_at, broadcast_id
    )
    SELECT id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version,
           lane, strategy, scrub,
           (CASE WHEN send_at > now() THEN 'scheduled' ELSE 'accepted' END)::status, now(), send_at,
           COALESCE(expires_at, GREATEST(send_at, now()) + make_interval(secs => expires_s)),
           broadcast_id
    FROM input ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, tenant, user_id, type, lane, strategy, scrub, status, accepted_at, send_at, expires_at
), content AS (
    INSERT INTO notification_contents (
        notification_id, accepted_at, title, body, to_sms, to_email, to_push, to_whatsapp, metadata, private_metadata
    )
    SELECT accepted.id, accepted.accepted_at, title, body, to_sms, to_email, to_push, to_whatsapp, metadata::jsonb,
           CASE WHEN accepted.scrub AND $2::jsonb ? accepted.id::text
                THEN ARRAY(SELECT jsonb_array_elements_text($2::jsonb -> accepted.id::text)) END
    FROM accepted JOIN input USING (id)
), expiring AS (
    INSERT INTO expiring_contents (expires_at, notification_id, accepted_at)
    SELECT expires_at, id, accepted_at FROM accepted WHERE scrub
), delivery AS (
    INSERT INTO deliveries (
        notification_id, tenant, user_id, type, channel, position, status, next_pass_at, expires_at, due_at, accepted_at
    )
    SELECT accepted.id, accepted.tenant, accepted.user_id, accepted.type, line.channel, line.place - 1,
           (CASE WHEN accepted.strategy = 'first' AND line.place > 1 THEN 'waiting' ELSE accepted.status END),
           GREATEST(accepted.send_at, accepted.accepted_at), accepted.expires_at,
           CASE WHEN accepted.strategy = 'first' AND line.place > 1 THEN NULL
                ELSE GREATEST(accepted.send_at, accepted.accepted_at) END,
           accepted.accepted_at
    FROM accepted JOIN input USING (id)
         CROSS JOIN LATERAL unnest(input.channels) WITH ORDINALITY AS line (channel, place)
), queued AS (
    INSERT INTO due (id, lane, due_at, dedicated_workflow, turn)
    SELECT accepted.id, accepted.lane, GREATEST(accepted.send_at, accepted.accepted_at),
           input.dedicated_workflow OR accepted.strategy = 'first',
           crc32(convert_to(accepted.tenant, 'UTF8')) - 2147483648
    FROM accepted JOIN input USING (id)
)
SELECT id, accepted_at, expires_at, status, (SELECT pg_notify('herald_due', '')) FROM accepted

-- name: find_accepted
-- The fingerprints of notifications that were accepted before.
SELECT id, fingerprint, fingerprint_key_id, fingerprint_version
FROM notifications WHERE id = ANY($1::uuid[])

-- name: find_accepted_by_key
-- Notifications that were accepted before, by the fields that identify them for the client. Their ids are derived
-- from these fields, which stay unique even if the secret of the derivation changes.
SELECT input.id AS asked, n.id, n.fingerprint, n.fingerprint_key_id, n.fingerprint_version
FROM unnest($1::submission_key_v1[]) AS input
     -- One key look-up each, whatever the statistics say.
     CROSS JOIN LATERAL (SELECT * FROM notifications n
                         WHERE n.tenant = input.tenant AND n.user_id = input.user_id AND n.type = input.type
                           AND n.idempotency_key = input.idempotency_key OFFSET 0) n

-- name: load_notifications
-- Everything that a pass needs to decide and to send, one row per notification.
SELECT n.id, n.tenant, n.user_id, n.type, n.lane, n.strategy, n.status, n.accepted_at, n.expires_at,
       now() AS now, (c).title, COALESCE((c).body, '') AS body, n.scrub, (c).scrubbed_at IS NOT NULL AS scrubbed,
       addresses_v1(c, u) AS addresses,
       (u).time_zone, (u).quiet_start, (u).quiet_end,
       (SELECT json_agg(d ORDER BY d.position) FROM (
            SELECT id, channel, position, status, reason_code, version, pass_number, round_pass, next_pass_at,
                   expires_at, due_at
            FROM deliveries WHERE accepted_at = n.accepted_at AND notification_id = n.id) d) AS deliveries,
       (SELECT json_agg(a ORDER BY a.delivery_id, a.number) FROM (
            SELECT a.delivery_id, a.number, a.provider, a.pass_number, a.device_id, a.intended_at, a.send_deadline,
                   a.outcome, a.code, a.provider_message_id, a.match_key, a.receipt_status
            FROM deliveries d
                 -- OFFSET 0 keeps the subquery apart, so that the delivery is found first: while the table had no
                 -- statistics, the planner went by the month alone and read all its attempts.
                 CROSS JOIN LATERAL (SELECT * FROM notification_attempts a
                                     WHERE a.delivery_id = d.id AND a.accepted_at = n.accepted_at OFFSET 0) a
            WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id AND d.attempts_made > 0) a) AS attempts,
       (SELECT json_agg(v ORDER BY v.registered_at DESC) FROM (
            SELECT device_id, fcm_token, apns_token, webpush, registered_at FROM devices v
            WHERE v.tenant = n.tenant AND v.user_id = n.user_id
              AND COALESCE(v.fcm_token, v.apns_token, v.webpush) IS NOT NULL
              AND ((c).to_push IS NULL OR v.device_id = (c).to_push)) v) AS devices,
       (SELECT json_agg(s) FROM (
            SELECT type, channel, enabled FROM user_notification_settings s
            WHERE s.tenant = n.tenant AND s.user_id = n.user_id AND s.type IN (n.type, '*')) s) AS settings,
       (SELECT json_agg(s) FROM (
            -- The address as the recipient has it, not as the suppression list spells it.
            SELECT own.channel, own.address
            FROM (SELECT key AS channel, value AS address FROM jsonb_each_text(addresses_v1(c, u))
                  UNION ALL
                  SELECT 'push', held.token
                  FROM devices v, LATERAL (VALUES (v.fcm_token), (v.apns_token), (v.webpush)) AS held (token)
                  WHERE v.tenant = n.tenant AND v.user_id = n.user_id) own
            WHERE (SELECT suppressed FROM is_suppressed_v1(
                       n.tenant, own.channel, suppression_key_v1(own.channel, own.address)))
       ) s) AS suppressed
FROM notifications n
-- One look-up per notification, in its month: a plain join may search every month for all of them.
LEFT JOIN LATERAL (SELECT c FROM notification_contents c
                   WHERE c.accepted_at = n.accepted_at AND c.notification_id = n.id LIMIT 1) held ON true
LEFT JOIN LATERAL (SELECT u FROM users u WHERE u.tenant = n.tenant AND u.user_id = n.user_id LIMIT 1) owner ON true
WHERE n.id = ANY($1::uuid[])

-- name: notification_view
-- Notifications as clients see them.
SELECT n.id, n.tenant, n.user_id, n.type, n.idempotency_key, n.lane, n.strategy, n.status, n.reason_code,
       n.accepted_at, n.send_at, n.expires_at, n.final_at,
       -- What expires is hidden before it is removed.
       COALESCE(CASE WHEN n.scrub AND n.expires_at <= now() THEN c.metadata - COALESCE(c.private_metadata, '{}')
                     ELSE c.metadata END, '{}') AS metadata,
       (SELECT json_agg(d ORDER BY d.position) FROM (
            SELECT channel, position, status, reason_code, attempts_made AS attempts, pass_number, expires_at,
                   CASE WHEN status IN ('accepted', 'scheduled', 'deferred') THEN next_pass_at END AS next_pass_at,
                   CASE WHEN attempts_made > 0 THEN (
                        SELECT a.provider FROM notification_attempts a
                        WHERE a.delivery_id = d.id AND a.accepted_at = n.accepted_at
                        ORDER BY a.number DESC LIMIT 1) END AS provider
            FROM deliveries d WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id) d) AS deliveries
FROM notifications n
LEFT JOIN LATERAL (SELECT * FROM notification_contents c
                   WHERE c.accepted_at = n.accepted_at AND c.notification_id = n.id OFFSET 0) c ON true
WHERE n.id = ANY($1::uuid[])

-- name: list_notifications
-- A page of a tenant's notifications, newest first: those that match among the next $3 of an index.
-- storage/queries.py replaces the markers with conditions, so that each combination is a statement with its own plan.
SELECT n.id, n.accepted_at
FROM (
    SELECT * FROM notifications n
    WHERE n.tenant = $1 /* places */
    ORDER BY n.accepted_at DESC, n.id DESC
    LIMIT $3
) n
WHERE true /* conditions */
ORDER BY n.accepted_at DESC, n.id DESC
LIMIT $2

-- name: list_live_notifications
-- A page of a tenant's notifications in a status that only unfinished ones have, newest first. It searches the live
-- notifications alone: hardly any of the whole history has such a status. storage/queries.py inserts the conditions.
SELECT n.id, n.accepted_at
FROM notifications n
WHERE (n.final_at IS NULL OR n.status >= 'outcome_unknown')
  -- `|| ''` keeps the planner from the index of the tenant's whole history.
  AND n.tenant || '' = $1 /* conditions */
ORDER BY n.accepted_at DESC, n.id DESC
LIMIT $2

-- name: last_notification_looked_at
-- The last of the $2 notifications that a page of list_notifications looked at; no row if there are fewer.
SELECT n.id, n.accepted_at
FROM notifications n
WHERE n.tenant = $1 /* places */
ORDER BY n.accepted_at DESC, n.id DESC
OFFSET $2::bigint - 1 LIMIT 1

-- name: count_parked
-- How many notifications wait for an operator.
SELECT count(*) FROM notifications WHERE status IN ('outcome_unknown', 'dead_lettered')

-- name: readdress
-- Replace the addresses of a dead letter, for an operator. Content that was removed meanwhile gets none.
UPDATE notification_contents c
SET to_sms = COALESCE($2::jsonb ->> 'sms', c.to_sms), to_email = COALESCE($2::jsonb ->> 'email', c.to_email),
    to_whatsapp = COALESCE($2::jsonb ->> 'whatsapp', c.to_whatsapp)
WHERE c.notification_id = $1 AND c.accepted_at = (SELECT accepted_at FROM notifications WHERE id = $1)
  AND c.scrubbed_at IS NULL

-- name: list_timeline
-- Decisions about one notification that left no other row.
SELECT at, kind, channel, data FROM timeline
WHERE notification_id = $1 AND accepted_at = $2 ORDER BY seq

-- name: refresh_notifications
-- Derive notifications and their queue entries from deliveries that were written without a ledger function.
SELECT ledger_refresh_v1($1, $2)
