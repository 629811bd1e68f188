-- Device tokens that a provider called dead, unless the device has come with another since.
WITH dead AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS t (
        tenant, user_id, device_id, token, reason
    )
), held AS (
    SELECT v.tenant, v.user_id, v.device_id FROM devices v
    WHERE (v.tenant, v.user_id, v.device_id) IN (SELECT tenant, user_id, device_id FROM dead)
    ORDER BY v.tenant, v.user_id, v.device_id
    FOR UPDATE
), lost AS (
    SELECT held.tenant, held.user_id, held.device_id, array_agg(dead.token) AS tokens, min(dead.reason) AS reason
    FROM held JOIN dead USING (tenant, user_id, device_id) GROUP BY 1, 2, 3
)
UPDATE devices v
SET fcm_token = CASE WHEN v.fcm_token = ANY(lost.tokens) THEN NULL ELSE v.fcm_token END,
    apns_token = CASE WHEN v.apns_token = ANY(lost.tokens) THEN NULL ELSE v.apns_token END,
    deactivated_at = now(),
    deactivated_reason = lost.reason
FROM lost
WHERE v.tenant = lost.tenant AND v.user_id = lost.user_id AND v.device_id = lost.device_id
  AND (v.fcm_token = ANY(lost.tokens) OR v.apns_token = ANY(lost.tokens))
