-- Orphans that nobody claimed for $1 seconds go, $2 at a time.
DELETE FROM receipt_inbox WHERE (provider, event_key) IN (
    SELECT provider, event_key FROM receipt_inbox
    WHERE orphaned_at < now() - make_interval(secs => $1)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING event_key
