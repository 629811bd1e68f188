-- A page was accepted: its recipients are dropped, its refusals and notifications are kept, the cursor moves on.
-- The rate counts from when the page before allowed this one, so that a late page does not slow the others.
WITH gone AS (
    DELETE FROM broadcast_recipients WHERE broadcast_id = $1 AND upload = $2 AND no > $3 AND no <= $4
), page AS (
    INSERT INTO broadcast_pages (broadcast_id, last_no, notification_ids)
    SELECT $1, $4, $5::uuid[] WHERE cardinality($5::uuid[]) > 0
), refusals AS (
    INSERT INTO broadcast_refusals (broadcast_id, upload, no, code, pointer, message)
    SELECT $1, $2, t.*
    FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[]) AS t (no, code, pointer, message)
)
UPDATE broadcasts
SET cursor = $4,
    accepted = accepted + cardinality($5::uuid[]),
    refused = refused + cardinality($6::bigint[]),
    next_at = GREATEST(next_at, now() - interval '1 second')
              + make_interval(secs => COALESCE(cardinality($5::uuid[]) / rate_per_s, 0)),
    due_at = now() + make_interval(secs => $10)
WHERE id = $1
