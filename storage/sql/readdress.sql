-- An operator gives a dead letter other addresses.
UPDATE notification_contents c
SET to_sms = COALESCE($2::jsonb ->> 'sms', c.to_sms), to_email = COALESCE($2::jsonb ->> 'email', c.to_email),
    to_whatsapp = COALESCE($2::jsonb ->> 'whatsapp', c.to_whatsapp)
FROM notifications n
WHERE n.id = $1 AND c.notification_id = n.id AND c.accepted_at = n.accepted_at
