-- Orphans whose message has become an attempt's since (a look-up found it) are due again.
UPDATE receipt_inbox SET orphaned_at = NULL, due_at = now()
WHERE (provider, event_key) IN (
    SELECT i.provider, i.event_key
    FROM receipt_inbox i,
         -- With a limit, one look at the key for each orphan: a plain join may walk every message there is.
         LATERAL (SELECT * FROM provider_messages
                  WHERE provider = i.provider AND provider_message_id = i.provider_message_id LIMIT 1) m,
         LATERAL (SELECT FROM notification_attempts
                  WHERE delivery_id = m.delivery_id AND no = m.no AND accepted_at = m.accepted_at LIMIT 1) a
    WHERE i.orphaned_at IS NOT NULL
    LIMIT $1
    FOR UPDATE OF i SKIP LOCKED
)
RETURNING event_key, (SELECT pg_notify('herald_receipts', ''))
