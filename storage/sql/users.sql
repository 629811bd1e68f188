-- name: find_user
-- A user's row.
SELECT phone, email, whatsapp, time_zone, quiet_start, quiet_end FROM users WHERE tenant = $1 AND user_id = $2

-- name: ensure_user
-- Create a user without contacts unless it exists, and lock it: changes of what belongs to it take turns.
INSERT INTO users (tenant, user_id) VALUES ($1, $2)
ON CONFLICT (tenant, user_id) DO UPDATE SET updated_at = now()

-- name: set_contacts
-- Replace a user's addresses; their preferences stay.
INSERT INTO users (tenant, user_id, phone, email, whatsapp) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, user_id) DO UPDATE SET phone = excluded.phone, email = excluded.email, whatsapp = excluded.whatsapp,
    updated_at = now()

-- name: set_quiet_hours
-- Replace a user's time zone and quiet hours; their contacts stay.
INSERT INTO users (tenant, user_id, time_zone, quiet_start, quiet_end) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, user_id) DO UPDATE
SET time_zone = excluded.time_zone, quiet_start = excluded.quiet_start, quiet_end = excluded.quiet_end,
    updated_at = now()

-- name: list_devices
-- A user's devices, in the order in which they are tried.
SELECT device_id, fcm_token, apns_token, webpush, registered_at, deactivated_at, deactivated_reason
FROM devices WHERE tenant = $1 AND user_id = $2 ORDER BY registered_at DESC, device_id

-- name: set_devices
-- Replace a user's devices. Unchanged ones keep the time of their registration, and `confirmed_at` is when they were
-- given again: both show whether a provider's verdict about a token is older than the token. The registration times
-- of new ones count down from now, so that the first one given is tried first.
WITH input AS (
    SELECT * FROM unnest($3::device_v1[]) WITH ORDINALITY
        AS t (device_id, fcm_token, apns_token, webpush, place)
), removed AS (
    DELETE FROM devices
    WHERE tenant = $1 AND user_id = $2 AND device_id <> ALL (ARRAY(SELECT input.device_id FROM input))
)
INSERT INTO devices AS d (tenant, user_id, device_id, fcm_token, apns_token, webpush, registered_at)
SELECT $1, $2, device_id, fcm_token, apns_token, webpush, now() - place * interval '1 microsecond' FROM input
ON CONFLICT (tenant, user_id, device_id) DO UPDATE
SET fcm_token = excluded.fcm_token, apns_token = excluded.apns_token, webpush = excluded.webpush,
    confirmed_at = now(),
    (registered_at, deactivated_at, deactivated_reason) = (
        SELECT CASE WHEN same THEN d.registered_at ELSE excluded.registered_at END,
               CASE WHEN same THEN d.deactivated_at END, CASE WHEN same THEN d.deactivated_reason END
        FROM (SELECT (d.fcm_token, d.apns_token, d.webpush)
                  IS NOT DISTINCT FROM (excluded.fcm_token, excluded.apns_token, excluded.webpush)) AS t (same))

-- name: deactivate_token
-- Empty a token that a provider called dead, unless the device was given another token, or this one again, after $5:
-- the time of the send, or since when the provider knows the token as dead. The verdict is then older than the token.
UPDATE devices
SET fcm_token = NULLIF(fcm_token, $3), apns_token = NULLIF(apns_token, $3), webpush = NULLIF(webpush, $3),
    deactivated_at = now(), deactivated_reason = $4
WHERE tenant = $1 AND user_id = $2 AND $3 IN (fcm_token, apns_token, webpush)
  AND COALESCE(confirmed_at, registered_at) <= $5

-- name: list_settings
-- A user's opt-ins and opt-outs.
SELECT type, channel, enabled FROM user_notification_settings
WHERE tenant = $1 AND user_id = $2 ORDER BY type, channel

-- name: set_settings
-- Replace a user's opt-ins and opt-outs.
WITH input AS (
    SELECT * FROM unnest($3::setting_v1[])
), removed AS (
    DELETE FROM user_notification_settings s
    WHERE s.tenant = $1 AND s.user_id = $2
      AND NOT EXISTS (SELECT FROM input WHERE input.type = s.type AND input.channel = s.channel)
)
INSERT INTO user_notification_settings AS s (tenant, user_id, type, channel, enabled)
SELECT $1, $2, type, channel, enabled FROM input
ON CONFLICT (tenant, user_id, channel, type) DO UPDATE SET enabled = excluded.enabled, updated_at = now()
WHERE s.enabled <> excluded.enabled

-- name: find_subscription
-- The type and channel of a delivery, and whether its user wants them.
SELECT d.type, d.channel,
       NOT (SELECT opted_out FROM is_opted_out_v1(d.tenant, d.user_id, d.channel, d.type)) AS wanted
FROM deliveries d WHERE d.id = $1

-- name: unsubscribe
-- Opt the user of a delivery out of its type over its channel. The first time, this is recorded in the notification's
-- timeline, if its month is still kept.
WITH delivery AS (
    SELECT notification_id, accepted_at, tenant, user_id, type, channel FROM deliveries WHERE id = $1
), known AS (
    INSERT INTO users (tenant, user_id) SELECT tenant, user_id FROM delivery
    ON CONFLICT DO NOTHING
), unwanted AS (
    INSERT INTO user_notification_settings AS s (tenant, user_id, type, channel, enabled)
    SELECT tenant, user_id, type, channel, false FROM delivery
    ON CONFLICT (tenant, user_id, channel, type) DO UPDATE SET enabled = false, updated_at = now() WHERE s.enabled
    RETURNING type
), recorded AS (
    INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
    SELECT d.notification_id, d.accepted_at, 'unsubscribed', d.channel, jsonb_build_object('by', 'one_click')
    FROM delivery d JOIN unwanted USING (type)
    -- A month that retention has dropped has no partition for it. One key look-up: EXISTS may become a join that reads
    -- whole months.
    WHERE (SELECT true FROM notification_contents c
           WHERE c.accepted_at = d.accepted_at AND c.notification_id = d.notification_id)
)
SELECT type, channel, false AS wanted FROM delivery
