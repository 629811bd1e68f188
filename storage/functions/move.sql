-- A change of a delivery that sends nothing: a deferral, a suppression, an expiry, an operator's act.
-- It needs the version that was seen and no open attempt; no row back: somebody else moved.
CREATE OR REPLACE FUNCTION ledger_move(
    notification_ids uuid[], released uuid[], delivery_ids uuid[], versions integer[], states text[],
    reason_codes text[], pass_nos smallint[], new_rounds boolean[], next_passes_at timestamptz[],
    dues_at timestamptz[], expiries_at timestamptz[], events text[], datas text[]
) RETURNS TABLE (id uuid, version integer, state status)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first uuid[];
BEGIN
    first := ledger_lock(notification_ids);
    RETURN QUERY
    WITH want AS (
        SELECT * FROM unnest(
            delivery_ids, versions, states, reason_codes, pass_nos, new_rounds, next_passes_at,
            dues_at, expiries_at, events, datas
        ) AS t (id, version, state, reason_code, pass_no, new_round, next_pass_at, due_at, expires_at, event, data)
    ), moved AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            state = want.state::status,
            reason_code = want.reason_code,
            pass_no = CASE WHEN want.new_round THEN d.pass_no + 1 ELSE COALESCE(want.pass_no, d.pass_no) END,
            round_pass = CASE WHEN want.new_round THEN d.pass_no + 1 ELSE d.round_pass END,
            next_pass_at = COALESCE(want.next_pass_at, d.next_pass_at),
            expires_at = COALESCE(want.expires_at, d.expires_at),
            due_at = want.due_at
        FROM want
        WHERE d.id = ANY(delivery_ids) AND d.id = want.id AND d.version = want.version AND d.state <> 'sending'
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.state, d.reason_code, want.event, want.data
    ), told AS (
        INSERT INTO timeline (notification_id, accepted_at, kind, channel, data)
        SELECT notification_id, accepted_at, event, channel,
               jsonb_strip_nulls(jsonb_build_object('reason_code', reason_code)) || data::jsonb
        FROM moved WHERE event IS NOT NULL
    )
    SELECT id, version, state FROM moved;
    IF cardinality(first) > 0 THEN
        PERFORM ledger_advance(first);
    END IF;
    PERFORM ledger_refresh(notification_ids, released);
END $$;
