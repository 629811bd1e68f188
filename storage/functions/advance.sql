-- `strategy: first`: when nothing is under way and nothing has reached the user, the next channel in
-- line wakes up; when something has reached the user for good, the channels that were not asked yet are
-- not needed; and when the notification was cancelled, nothing wakes up any more.
CREATE OR REPLACE FUNCTION ledger_advance(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH line AS (
        SELECT notification_id,
               min(position) FILTER (WHERE state = 'waiting') AS next,
               bool_or(state = 'delivered' OR (state = 'sent' AND due_at IS NULL)) AS reached,
               -- Why the next one's turn has come: how the last one before it ended.
               (array_agg(jsonb_strip_nulls(jsonb_build_object(
                    'channel', channel, 'status', state, 'reason_code', reason_code)) ORDER BY position DESC)
                FILTER (WHERE state <> 'waiting'))[1] AS ended,
               bool_or(state = 'cancelled') AS cancelled,
               max(reason_code) FILTER (WHERE state = 'cancelled') AS why_cancelled,
               bool_or(state IN ('accepted', 'scheduled', 'deferred', 'sending', 'outcome_unknown', 'dead_lettered')
                       OR (state = 'sent' AND due_at IS NOT NULL)) AS busy
        FROM deliveries WHERE notification_id = ANY(ids) GROUP BY notification_id
    ), moved AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            state = CASE WHEN line.reached OR line.cancelled THEN 'cancelled' ELSE 'accepted' END::status,
            reason_code = CASE WHEN line.reached THEN 'not_needed' ELSE line.why_cancelled END,
            next_pass_at = CASE WHEN line.reached OR line.cancelled THEN d.next_pass_at ELSE now() END,
            due_at = CASE WHEN line.reached OR line.cancelled THEN NULL ELSE now() END
        FROM line
        WHERE d.notification_id = ANY(ids) AND d.notification_id = line.notification_id
          AND CASE WHEN line.reached THEN d.state IN ('waiting', 'accepted', 'scheduled', 'deferred')
                   ELSE d.state = 'waiting' AND (line.cancelled OR (NOT line.busy AND d.position = line.next)) END
        RETURNING d.notification_id, d.accepted_at, d.channel, d.state, d.reason_code, line.ended
    )
    INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
    SELECT notification_id, accepted_at, CASE state WHEN 'accepted' THEN 'next_channel' ELSE 'cancelled' END, channel,
           CASE state WHEN 'accepted' THEN jsonb_build_object('after', ended)
                      ELSE jsonb_build_object('reason_code', reason_code) END
    FROM moved;
END $$;
