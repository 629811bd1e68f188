-- A sender's intent to make the same call again, for an attempt that is still open.
CREATE TYPE renewal_v1 AS (
    notification_id    uuid,
    delivery_id        uuid,
    number             smallint,
    version            integer,
    budget_s           float8,
    visibility_delay_s float8,
    key_life_s         float8,
    address            text,
    required           boolean
);

-- Allow the same call again: its provider takes our idempotency key and sends only once. The attempt gets a new
-- deadline, so that no other process acts in the meantime. It is refused when the delivery is no longer wanted, or when
-- the provider may have forgotten the key. No row: read again.
CREATE FUNCTION ledger_renew_v1(renewal renewal_v1)
RETURNS TABLE (number smallint, intended_at timestamptz, send_deadline timestamptz, version integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    PERFORM ledger_lock_v1(ARRAY[renewal.notification_id]);
    moment := clock_timestamp();
    RETURN QUERY
    WITH renewed AS (
        UPDATE notification_attempts a
        -- Without a code it belongs to its sender again.
        SET send_deadline = moment + make_interval(secs => renewal.budget_s), code = NULL
        FROM deliveries d
        WHERE d.id = renewal.delivery_id AND d.version = renewal.version AND d.status = 'sending'
          AND d.expires_at > moment
          AND a.delivery_id = renewal.delivery_id AND a.number = renewal.number AND a.accepted_at = d.accepted_at
          AND COALESCE(a.outcome, '') = ''
          AND a.intended_at + make_interval(secs => renewal.key_life_s - renewal.budget_s) > moment
          AND (renewal.required
               OR NOT (SELECT opted_out FROM is_opted_out_v1(d.tenant, d.user_id, d.channel, d.type)))
          AND NOT (SELECT suppressed FROM is_suppressed_v1(d.tenant, d.channel, renewal.address))
        RETURNING a.delivery_id, a.number, a.intended_at, a.send_deadline
    ), updated AS (
        UPDATE deliveries d
        SET version = d.version + 1,
            due_at = renewed.send_deadline + make_interval(secs => renewal.visibility_delay_s)
        FROM renewed WHERE d.id = renewal.delivery_id
        RETURNING d.id, d.version
    )
    SELECT renewed.number, renewed.intended_at, renewed.send_deadline, updated.version
    FROM renewed JOIN updated ON updated.id = renewed.delivery_id;
    PERFORM ledger_refresh_v1(ARRAY[renewal.notification_id], '{}');
END $$;
