-- The same call again, for an attempt that is still open: its provider takes a key of ours and sends only once.
-- The hold begins anew, so that nobody else acts meanwhile, and what is not wanted any more, or what the
-- provider may have forgotten the key of, is not sent. No row back: read again.
CREATE OR REPLACE FUNCTION ledger_renew(
    renewed_notification uuid, renewed_delivery uuid, renewed_no smallint, seen_version integer, budget_s float8,
    settling_s float8, key_life_s float8, target text, is_required boolean
) RETURNS TABLE (no smallint, intended_at timestamptz, hold_until timestamptz, version integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    PERFORM ledger_lock(ARRAY[renewed_notification]);
    moment := clock_timestamp();
    RETURN QUERY
    WITH held AS (
        UPDATE notification_attempts a
        -- Without a code it belongs to its sender again (domain/decision.py).
        SET hold_until = moment + make_interval(secs => budget_s), code = NULL
        FROM deliveries d
        WHERE d.id = renewed_delivery AND d.version = seen_version AND d.state = 'sending' AND d.expires_at > moment
          AND a.delivery_id = d.id AND a.no = renewed_no AND a.accepted_at = d.accepted_at
          AND COALESCE(a.outcome, '') = ''
          AND a.intended_at + make_interval(secs => key_life_s - budget_s) > moment
          AND (is_required OR COALESCE(
              (SELECT s.enabled FROM user_notification_settings s
               WHERE s.tenant = d.tenant AND s.user_id = d.user_id AND s.channel = d.channel
                 AND s.type IN (d.type, '*')
               ORDER BY s.type = '*' LIMIT 1), true))
          AND (SELECT true FROM suppressions s
               WHERE s.tenant IN (d.tenant, '*') AND s.channel = d.channel AND s.address = target LIMIT 1) IS NULL
        RETURNING a.delivery_id, a.no, a.intended_at, a.hold_until
    ), moved AS (
        UPDATE deliveries d
        SET version = d.version + 1, due_at = held.hold_until + make_interval(secs => settling_s)
        FROM held WHERE d.id = held.delivery_id
        RETURNING d.id, d.version
    )
    SELECT held.no, held.intended_at, held.hold_until, moved.version FROM held JOIN moved ON moved.id = held.delivery_id;
    PERFORM ledger_refresh(ARRAY[renewed_notification], '{}');
END $$;
