-- A change of a delivery that sends nothing: a deferral, a suppression, an expiry, an operator's act.
-- It needs the version that was seen and no open attempt; no row back: somebody else moved.
WITH want AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::integer[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[],
        $7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[]
    ) AS t (id, version, state, reason_code, pass_no, next_pass_at, due_at, expires_at, event, data)
), moved AS (
    UPDATE deliveries d
    SET version = d.version + 1,
        state = want.state::status,
        reason_code = want.reason_code,
        pass_no = COALESCE(want.pass_no, d.pass_no),
        next_pass_at = COALESCE(want.next_pass_at, d.next_pass_at),
        expires_at = COALESCE(want.expires_at, d.expires_at),
        due_at = want.due_at
    FROM want
    WHERE d.id = ANY($1::uuid[]) AND d.id = want.id AND d.version = want.version AND d.state <> 'sending'
    RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.state, want.event, want.data
), told AS (
    INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
    SELECT notification_id, accepted_at, event, channel, data::jsonb FROM moved WHERE event IS NOT NULL
)
SELECT id, version, state FROM moved
