-- What providers reported about one notification.
SELECT d.channel, r.no, r.provider, r.status, r.code, r.permanent, r.occurred_at, r.received_at, r.source
FROM deliveries d
JOIN receipts r ON r.delivery_id = d.id AND r.accepted_at = d.accepted_at
WHERE d.notification_id = $1
ORDER BY r.received_at, r.event_key
