-- What deliveries come to by their receipts. Unlike a move this may end `sending`: the open attempt has
-- just been closed by the same receipts.
WITH want AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[],
        $8::text[]
    ) AS t (id, version, state, reason_code, next_pass_at, due_at, event, data)
), moved AS (
    UPDATE deliveries d
    SET version = d.version + 1,
        state = want.state::status,
        reason_code = want.reason_code,
        next_pass_at = COALESCE(want.next_pass_at, d.next_pass_at),
        due_at = want.due_at
    FROM want
    WHERE d.id = want.id AND d.version = want.version
    RETURNING d.id, d.notification_id, d.accepted_at, d.channel
)
INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
SELECT moved.notification_id, moved.accepted_at, want.event, moved.channel, want.data::jsonb
FROM moved JOIN want USING (id) WHERE want.event IS NOT NULL
