-- Replace a user's devices. Those that did not change keep the time of their registration, and when they were
-- given again is noted beside it: both say whether a provider's verdict about a token is older than the
-- token. New ones count down from now, so that the first one given is tried first.
WITH given AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
        AS t (device_id, fcm_token, apns_token, webpush, place)
), gone AS (
    DELETE FROM devices
    WHERE tenant = $1 AND user_id = $2 AND device_id <> ALL ($3::text[])
)
INSERT INTO devices AS d (tenant, user_id, device_id, fcm_token, apns_token, webpush, registered_at)
SELECT $1, $2, device_id, fcm_token, apns_token, webpush, now() - place * interval '1 microsecond' FROM given
ON CONFLICT (tenant, user_id, device_id) DO UPDATE
SET fcm_token = excluded.fcm_token, apns_token = excluded.apns_token, webpush = excluded.webpush,
    confirmed_at = now(),
    (registered_at, deactivated_at, deactivated_reason) = (
        SELECT CASE WHEN same THEN d.registered_at ELSE excluded.registered_at END,
               CASE WHEN same THEN d.deactivated_at END, CASE WHEN same THEN d.deactivated_reason END
        FROM (SELECT (d.fcm_token, d.apns_token, d.webpush)
                  IS NOT DISTINCT FROM (excluded.fcm_token, excluded.apns_token, excluded.webpush)) AS t (same))
