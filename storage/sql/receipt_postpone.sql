-- Receipts that fit no attempt yet are due again after their wait; without one they are orphans.
UPDATE receipt_inbox i
SET tries = i.tries + 1,
    due_at = now() + make_interval(secs => COALESCE(t.wait_s, 0)),
    orphaned_at = CASE WHEN t.wait_s IS NULL THEN now() END
FROM unnest($1::text[], $2::text[], $3::float8[]) AS t (provider, event_key, wait_s)
WHERE i.provider = t.provider AND i.event_key = t.event_key
