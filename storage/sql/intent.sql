-- The intent: a delivery that is still what the sender saw, sendable, due, unexpired and wanted becomes
-- `sending`, and its attempt is written down. No row back: somebody else moved; read again.
-- Times are the statement's: now() is the transaction's, older by however long its locks were waited for.
WITH want AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::integer[], $3::text[], $4::float8[], $5::float8[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::boolean[]
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
        due_at = statement_timestamp() + make_interval(secs => want.budget_s + want.settling_s)
    FROM want
    WHERE d.id = ANY($1::uuid[])
      AND d.id = want.id
      AND d.version = want.version
      AND d.state IN ('accepted', 'scheduled', 'deferred')
      AND d.next_pass_at <= statement_timestamp()
      AND d.expires_at > statement_timestamp()
      AND (want.required OR COALESCE(
          (SELECT s.enabled FROM user_notification_settings s
           WHERE s.tenant = d.tenant AND s.user_id = d.user_id AND s.channel = d.channel
             AND s.type IN (d.type, '*')
           ORDER BY s.type = '*' LIMIT 1), true))
      AND NOT EXISTS (SELECT FROM suppressions s
                      WHERE s.tenant = d.tenant AND s.channel = d.channel AND s.address = want.address)
    RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.pass_no, d.attempts_made AS no,
              statement_timestamp() AS intended_at,
              statement_timestamp() + make_interval(secs => want.budget_s) AS hold_until,
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
SELECT id, no, intended_at, hold_until, version FROM moved
