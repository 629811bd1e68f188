-- The attempts that polled receipts are about.
SELECT a.notification_id, a.delivery_id, a.no, a.accepted_at, a.provider, now() AS received_at
FROM unnest($1::uuid[], $2::smallint[]) AS t (delivery_id, no)
JOIN deliveries d ON d.id = t.delivery_id
JOIN notification_attempts a ON a.delivery_id = d.id AND a.no = t.no AND a.accepted_at = d.accepted_at
