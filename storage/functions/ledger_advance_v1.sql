-- `strategy: first`: when no delivery is under way and none has reached the user, the next waiting channel starts.
-- When one has reached the user for good, the channels that were not tried yet are cancelled as not needed. When the
-- notification was cancelled, no channel starts.
CREATE FUNCTION ledger_advance_v1(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH line AS (
        SELECT n.id, n.accepted_at, own.*
        FROM notifications n CROSS JOIN LATERAL (
            SELECT array_agg(d.id) AS delivery_ids,
                   min(position) FILTER (WHERE status = 'waiting') AS next,
                   bool_or(status = 'delivered' OR (status = 'sent' AND due_at IS NULL)) AS reached,
                   -- Why the next channel starts: how the previous one ended.
                   (array_agg(jsonb_strip_nulls(jsonb_build_object(
                        'channel', channel, 'status', status, 'reason_code', reason_code)) ORDER BY position DESC)
                    FILTER (WHERE status <> 'waiting'))[1] AS ended,
                   bool_or(status = 'cancelled') AS cancelled,
                   max(reason_code) FILTER (WHERE status = 'cancelled') AS cancel_reason,
                   bool_or(status IN ('accepted', 'scheduled', 'deferred', 'sending', 'outcome_unknown',
                                      'dead_lettered')
                           OR (status = 'sent' AND due_at IS NOT NULL)) AS busy
            FROM deliveries d WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id
        ) own
        WHERE n.id = ANY(ids)
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = CASE WHEN line.reached OR line.cancelled THEN 'cancelled' ELSE 'accepted' END::status,
            reason_code = CASE WHEN line.reached THEN 'not_needed' ELSE line.cancel_reason END,
            next_pass_at = CASE WHEN line.reached OR line.cancelled THEN d.next_pass_at ELSE now() END,
            due_at = CASE WHEN line.reached OR line.cancelled THEN NULL ELSE now() END
        FROM line
        WHERE d.id = ANY(ARRAY(SELECT unnest(delivery_ids) FROM line)) AND d.notification_id = line.id
          AND CASE WHEN line.reached THEN d.status IN ('waiting', 'accepted', 'scheduled', 'deferred')
                   ELSE d.status = 'waiting' AND (line.cancelled OR (NOT line.busy AND d.position = line.next)) END
        RETURNING d.notification_id, d.accepted_at, d.channel, d.status, d.reason_code, line.ended
    )
    INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
    SELECT notification_id, accepted_at, CASE status WHEN 'accepted' THEN 'next_channel' ELSE 'cancelled' END, channel,
           CASE status WHEN 'accepted' THEN jsonb_build_object('after', ended)
                       ELSE jsonb_build_object('reason_code', reason_code) END
    FROM updated;
END $$;
