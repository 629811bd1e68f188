-- The intent: a delivery that is still what the sender saw, sendable, due, unexpired and wanted becomes
-- `sending`, and its attempt is written down. No row back: somebody else moved; read again.
-- Times are taken once the locks are held: now() is older, by however long they were waited for.
CREATE OR REPLACE FUNCTION ledger_intend(
    notification_ids uuid[], delivery_ids uuid[], versions integer[], providers text[], budgets_s float8[],
    settlings_s float8[], device_ids text[], addresses text[], targets_masked text[], match_keys text[],
    selections text[], requireds boolean[]
) RETURNS TABLE (id uuid, no smallint, intended_at timestamptz, hold_until timestamptz, version integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    PERFORM ledger_lock(notification_ids);
    moment := clock_timestamp();
    RETURN QUERY
    WITH want AS (
        SELECT * FROM unnest(
            delivery_ids, versions, providers, budgets_s, settlings_s, device_ids, addresses, targets_masked,
            match_keys, selections, requireds
        ) AS t (
            id, version, provider, budget_s, settling_s, device_id, address, target_masked,
            match_key, selection, required
        )
    ), moved AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            state = 'sending',
            reason_code = NULL,
            attempts_made = d.attempts_made + 1,
            due_at = moment + make_interval(secs => want.budget_s + want.settling_s)
        FROM want
        WHERE d.id = ANY(delivery_ids)
          AND d.id = want.id
          AND d.version = want.version
          AND d.state IN ('accepted', 'scheduled', 'deferred')
          AND d.next_pass_at <= moment
          AND d.expires_at > moment
          AND (want.required OR COALESCE(
              (SELECT s.enabled FROM user_notification_settings s
               WHERE s.tenant = d.tenant AND s.user_id = d.user_id AND s.channel = d.channel
                 AND s.type IN (d.type, '*')
               ORDER BY s.type = '*' LIMIT 1), true))
          -- One look at the key for each row, whatever the statistics say: NOT EXISTS may become a join that walks
          -- the tenant's list, and a scalar subquery may not.
          AND (SELECT true FROM suppressions s
               WHERE s.tenant IN (d.tenant, '*') AND s.channel = d.channel AND s.address = want.address LIMIT 1) IS NULL
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.pass_no, d.attempts_made AS no,
                  moment AS intended_at,
                  moment + make_interval(secs => want.budget_s) AS hold_until,
                  want.provider, want.device_id, want.target_masked, want.selection, want.match_key
    ), written AS (
        INSERT INTO notification_attempts (
            delivery_id, no, accepted_at, notification_id, channel, provider, pass_no, device_id, target_masked,
            selection, match_key, intended_at, hold_until
        )
        SELECT id, no, accepted_at, notification_id, channel, provider, pass_no, device_id, target_masked,
               selection::jsonb, match_key, intended_at, hold_until
        FROM moved
    )
    SELECT id, no, intended_at, hold_until, version FROM moved;
    PERFORM ledger_refresh(notification_ids, '{}');
END $$;
