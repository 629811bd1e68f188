-- Accept: one statement inserts the new notifications with their content, deliveries and due entries.
-- A notification that exists already returns no row; the caller reads it with accepted_before.sql.
WITH item AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::smallint[],
        $9::smallint[], $10::text[], $11::boolean[], $12::timestamptz[], $13::timestamptz[], $14::float8[],
        $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $26::uuid[], $27::boolean[]
    ) AS t (
        id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version,
        lane, strategy, scrub, send_at, expires_at, expires_s,
        title, body, to_sms, to_email, to_push, to_whatsapp, metadata, broadcast_id, solo
    )
), fresh AS (
    INSERT INTO notifications (
        id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version,
        lane, strategy, scrub, status, accepted_at, send_at, expires_at, broadcast_id
    )
    SELECT id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version,
           lane, strategy, scrub,
           (CASE WHEN send_at > now() THEN 'scheduled' ELSE 'accepted' END)::status, now(), send_at,
           COALESCE(expires_at, GREATEST(send_at, now()) + make_interval(secs => expires_s)),
           broadcast_id
    FROM item ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, tenant, user_id, type, lane, strategy, status, accepted_at, send_at, expires_at
), content AS (
    INSERT INTO notification_contents (
        notification_id, accepted_at, title, body, to_sms, to_email, to_push, to_whatsapp, metadata
    )
    SELECT fresh.id, fresh.accepted_at, title, body, to_sms, to_email, to_push, to_whatsapp, metadata::jsonb
    FROM fresh JOIN item USING (id)
), delivery AS (
    INSERT INTO deliveries (
        id, notification_id, tenant, user_id, type, channel, position, state,
        next_pass_at, expires_at, due_at, accepted_at
    )
    SELECT d.id, fresh.id, fresh.tenant, fresh.user_id, fresh.type, d.channel, d.position,
           (CASE WHEN fresh.strategy = 'first' AND d.position > 0 THEN 'waiting' ELSE fresh.status END),
           GREATEST(fresh.send_at, fresh.accepted_at), fresh.expires_at,
           CASE WHEN fresh.strategy = 'first' AND d.position > 0 THEN NULL
                ELSE GREATEST(fresh.send_at, fresh.accepted_at) END,
           fresh.accepted_at
    FROM unnest($22::uuid[], $23::uuid[], $24::text[], $25::smallint[])
         AS d (id, notification_id, channel, position)
    JOIN fresh ON fresh.id = d.notification_id
), queued AS (
    INSERT INTO due (id, lane, due_at, solo)
    SELECT fresh.id, fresh.lane, GREATEST(fresh.send_at, fresh.accepted_at), item.solo OR fresh.strategy = 'first'
    FROM fresh JOIN item USING (id)
)
SELECT id, accepted_at, expires_at, status, (SELECT pg_notify('herald_due', '')) FROM fresh
