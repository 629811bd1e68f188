-- A user's devices, in the order in which they are tried.
SELECT device_id, fcm_token, apns_token, webpush, registered_at, deactivated_at, deactivated_reason
FROM devices WHERE tenant = $1 AND user_id = $2 ORDER BY registered_at DESC, device_id
