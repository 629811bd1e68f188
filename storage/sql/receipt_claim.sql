-- Receipts that are due, held until this transaction ends, each with its attempt if it is known: by the
-- reference that the provider carried back, else by whose the provider's message is. With $2 and $3, only
-- the one receipt that they name. $4: for how many seconds they must have been due.
-- The transaction's commit does not wait for the disk: what a crash takes back is in the inbox again.
SELECT i.provider, i.event_key, i.status, i.code, i.permanent, i.address_verdict, i.provider_message_id,
       i.occurred_at, i.received_at, i.tries, a.notification_id, a.delivery_id, a.no, a.accepted_at,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM receipt_inbox i
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT a.notification_id, a.delivery_id, a.no, a.accepted_at, 0 AS rank
        FROM deliveries d JOIN notification_attempts a ON a.delivery_id = d.id AND a.accepted_at = d.accepted_at
        WHERE d.id = i.delivery_id AND a.no = i.no AND a.provider = i.provider
        UNION ALL
        SELECT a.notification_id, a.delivery_id, a.no, a.accepted_at, 1
        FROM provider_messages m
        JOIN notification_attempts a
          ON a.delivery_id = m.delivery_id AND a.no = m.no AND a.accepted_at = m.accepted_at
        WHERE m.provider = i.provider AND m.provider_message_id = i.provider_message_id
    ) found ORDER BY rank LIMIT 1
) a ON true
WHERE i.orphaned_at IS NULL
  AND i.due_at <= now() - make_interval(secs => $4)
  AND ($2::text IS NULL OR (i.provider = $2 AND i.event_key = $3))
ORDER BY i.due_at LIMIT $1
FOR UPDATE OF i SKIP LOCKED
