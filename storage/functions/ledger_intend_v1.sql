-- A sender's intent to call a provider.
CREATE TYPE intent_v1 AS (
    notification_id    uuid,
    delivery_id        uuid,
    version            integer,
    provider           text,
    budget_s           float8,
    visibility_delay_s float8,
    device_id          text,
    address            text,
    target_masked      text,
    match_key          text,
    selection          text,
    required           boolean
);

-- Set a delivery to `sending` and record its attempt, if the delivery has the version that the sender saw and is
-- sendable, due, unexpired and wanted. No row: it changed in the meantime; read it again.
-- The time is taken after the locks are granted: now() is the transaction's start, which may be much earlier.
CREATE FUNCTION ledger_intend_v1(intents intent_v1[])
RETURNS TABLE (id uuid, number smallint, intended_at timestamptz, send_deadline timestamptz, version integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment           timestamptz;
    notification_ids uuid[];
    delivery_ids     uuid[];
BEGIN
    SELECT array_agg(notification_id), array_agg(delivery_id) INTO notification_ids, delivery_ids FROM unnest(intents);
    PERFORM ledger_lock_v1(notification_ids);
    moment := clock_timestamp();
    RETURN QUERY
    WITH input AS (
        SELECT * FROM unnest(intents)
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            status = 'sending',
            reason_code = NULL,
            attempts_made = d.attempts_made + 1,
            due_at = moment + make_interval(secs => input.budget_s + input.visibility_delay_s)
        FROM input
        WHERE d.id = ANY(delivery_ids)
          AND d.id = input.delivery_id
          AND d.version = input.version
          AND d.status IN ('accepted', 'scheduled', 'deferred')
          AND d.next_pass_at <= moment
          AND d.expires_at > moment
          AND (input.required OR NOT (SELECT opted_out FROM is_opted_out_v1(d.tenant, d.user_id, d.channel, d.type)))
          AND NOT (SELECT suppressed FROM is_suppressed_v1(d.tenant, d.channel, input.address))
        RETURNING d.id, d.notification_id, d.accepted_at, d.channel, d.version, d.pass_number,
                  d.attempts_made AS number, moment AS intended_at,
                  moment + make_interval(secs => input.budget_s) AS send_deadline,
                  input.provider, input.device_id, input.target_masked, input.selection, input.match_key
    ), attempted AS (
        INSERT INTO notification_attempts (
            delivery_id, number, accepted_at, notification_id, channel, provider, pass_number, device_id,
            target_masked, selection, match_key, intended_at, send_deadline
        )
        SELECT id, number, accepted_at, notification_id, channel, provider, pass_number, device_id,
               target_masked, selection::jsonb, match_key, intended_at, send_deadline
        FROM updated
    )
    SELECT id, number, intended_at, send_deadline, version FROM updated;
    PERFORM ledger_refresh_v1(notification_ids, '{}');
END $$;
