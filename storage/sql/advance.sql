-- `strategy: first`: when nothing is under way and nothing has reached the user, the next channel in
-- line wakes up; when something has reached the user for good, the channels behind it are not needed.
WITH line AS (
    SELECT notification_id,
           min(position) FILTER (WHERE state = 'waiting') AS next,
           bool_or(state = 'delivered' OR (state = 'sent' AND due_at IS NULL)) AS reached,
           bool_or(state IN ('accepted', 'scheduled', 'deferred', 'sending', 'outcome_unknown', 'dead_lettered')
                   OR (state = 'sent' AND due_at IS NOT NULL)) AS busy
    FROM deliveries WHERE notification_id = ANY($1::uuid[]) GROUP BY notification_id
), moved AS (
    UPDATE deliveries d
    SET version = d.version + 1,
        state = CASE WHEN line.reached THEN 'cancelled' ELSE 'accepted' END::status,
        reason_code = CASE WHEN line.reached THEN 'not_needed' END,
        next_pass_at = CASE WHEN line.reached THEN d.next_pass_at ELSE now() END,
        due_at = CASE WHEN line.reached THEN NULL ELSE now() END
    FROM line
    WHERE d.notification_id = line.notification_id AND d.state = 'waiting'
      AND (line.reached OR (NOT line.busy AND d.position = line.next))
    RETURNING d.notification_id, d.accepted_at, d.channel, d.state
)
INSERT INTO timeline (notification_id, accepted_at, kind, channel)
SELECT notification_id, accepted_at, 'next_channel', channel FROM moved WHERE state = 'accepted'
