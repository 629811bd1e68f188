-- A token that a provider called dead is emptied, unless the device has been given another, or this one anew,
-- since that send, or since the provider knows it as dead ($5): what was said of it is older than that.
UPDATE devices
SET fcm_token = NULLIF(fcm_token, $3), apns_token = NULLIF(apns_token, $3), webpush = NULLIF(webpush, $3),
    deactivated_at = now(), deactivated_reason = $4
WHERE tenant = $1 AND user_id = $2 AND $3 IN (fcm_token, apns_token, webpush)
  AND COALESCE(confirmed_at, registered_at) <= $5
