-- An operator gives a dead letter other addresses.
UPDATE notification_contents c
SET to_sms = COALESCE($2, c.to_sms), to_email = COALESCE($3, c.to_email)
FROM notifications n
WHERE n.id = $1 AND c.notification_id = n.id AND c.accepted_at = n.accepted_at
