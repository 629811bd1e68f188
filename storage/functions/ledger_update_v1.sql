-- Change a delivery without sending: a deferral, a suppression, an expiry, an operator's command.
-- It needs the version that the caller saw and no open attempt. No row: another process changed the delivery.
CREATE FUNCTION ledger_update_v1(updates delivery_update_v1[])
RETURNS TABLE (id uuid, version integer, status status)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first            uuid[];
    notification_ids uuid[];
    delivery_ids     uuid[];
    released         uuid[];
BEGIN
    SELECT array_agg(notification_id), array_agg(delivery_id),
           COALESCE(array_agg(notification_id) FILTER (WHERE release), '{}')
    INTO notification_ids, delivery_ids, released FROM unnest(updates);
    first := ledger_lock_v1(notification_ids);
    RETURN QUERY
    WITH input AS (
        SELECT * FROM unnest(updates)
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = input.status::status,
            reason_code = input.reason_code,
            pass_number = CASE WHEN input.new_round THEN d.pass_number + 1
                               ELSE COALESCE(input.pass_number, d.pass_number) END,
            round_pass = CASE WHEN input.new_round THEN d.pass_number + 1 ELSE d.round_pass END,
            next_pass_at = COALESCE(input.next_pass_at, d.next_pass_at),
            expires_at = COALESCE(input.expires_at, d.expires_at),
            due_at = input.due_at
        FROM input
        WHERE d.id = ANY(delivery_ids) AND d.id = input.delivery_id AND d.version = input.version
          AND d.status <> 'sending'
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.status, d.reason_code,
                  input.event, input.data
    ), recorded AS (
        INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
        SELECT notification_id, accepted_at, event, channel,
               jsonb_strip_nulls(jsonb_build_object('reason_code', reason_code)) || data::jsonb
        FROM updated WHERE event IS NOT NULL
    )
    SELECT id, version, status FROM updated;
    IF cardinality(first) > 0 THEN
        PERFORM ledger_advance_v1(first);
    END IF;
    PERFORM ledger_refresh_v1(notification_ids, released);
END $$;
