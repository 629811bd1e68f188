-- The user of a delivery wants its type over its channel no more. The first time it is told in the
-- notification's timeline, for as long as that month is kept.
WITH told_by AS (
    SELECT notification_id, accepted_at, tenant, user_id, type, channel FROM deliveries WHERE id = $1
), known AS (
    INSERT INTO users (tenant, user_id) SELECT tenant, user_id FROM told_by
    ON CONFLICT DO NOTHING
), unwanted AS (
    INSERT INTO user_notification_settings AS s (tenant, user_id, type, channel, enabled)
    SELECT tenant, user_id, type, channel, false FROM told_by
    ON CONFLICT (tenant, user_id, channel, type) DO UPDATE SET enabled = false, updated_at = now() WHERE s.enabled
    RETURNING type
), evidence AS (
    INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
    SELECT t.notification_id, t.accepted_at, 'unsubscribed', t.channel, jsonb_build_object('by', 'one_click')
    FROM told_by t JOIN unwanted USING (type)
    -- A month that retention has dropped has no place for it any more.
    WHERE EXISTS (SELECT FROM notification_contents c
                  WHERE c.notification_id = t.notification_id AND c.accepted_at = t.accepted_at)
)
SELECT type, channel, false AS wanted FROM told_by
