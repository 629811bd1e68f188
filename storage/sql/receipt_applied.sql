-- Receipts whose work is done leave the inbox.
DELETE FROM receipt_inbox i USING unnest($1::text[], $2::text[]) AS t (provider, event_key)
WHERE i.provider = t.provider AND i.event_key = t.event_key
