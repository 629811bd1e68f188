-- Orphans whose message has become an attempt's since (a look-up found it) are due again.
UPDATE receipt_inbox SET orphaned_at = NULL, due_at = now()
WHERE (provider, event_key) IN (
    SELECT i.provider, i.event_key
    FROM receipt_inbox i
    JOIN provider_messages m ON m.provider = i.provider AND m.provider_message_id = i.provider_message_id
    JOIN notification_attempts a
      ON a.delivery_id = m.delivery_id AND a.no = m.no AND a.accepted_at = m.accepted_at
    WHERE i.orphaned_at IS NOT NULL
    LIMIT $1
    FOR UPDATE OF i SKIP LOCKED
)
RETURNING event_key, (SELECT pg_notify('herald_receipts', ''))
