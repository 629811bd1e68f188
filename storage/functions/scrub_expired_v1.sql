-- Remove what at most `rows_max` expired notifications must not keep: the content, the private keys of the metadata, and
-- the addresses that came with the notification. An address that is removed is empty, not NULL, which would stand for
-- the user's own. Returns how many rows of expiring_contents were dealt with, and how many contents were removed.
-- A row that another transaction is writing is left to the next round: waiting for it could be a deadlock.
CREATE FUNCTION scrub_expired_v1(rows_max integer, OUT taken integer, OUT removed integer) LANGUAGE plpgsql AS $$
DECLARE
    one       record;
    life_ends timestamptz;
BEGIN
    taken := 0;
    removed := 0;
    FOR one IN SELECT ctid AS place, notification_id, accepted_at FROM expiring_contents
               WHERE expires_at <= now() ORDER BY expires_at LIMIT rows_max FOR UPDATE SKIP LOCKED LOOP
        -- An operator's retry may have given it more time.
        SELECT max(d.expires_at) INTO life_ends FROM deliveries d
        WHERE d.accepted_at = one.accepted_at AND d.notification_id = one.notification_id;
        IF life_ends > now() THEN
            UPDATE expiring_contents SET expires_at = life_ends WHERE ctid = one.place;
            taken := taken + 1;
            CONTINUE;
        END IF;
        PERFORM FROM notification_contents c
        WHERE c.accepted_at = one.accepted_at AND c.notification_id = one.notification_id
        FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            -- One key look-up each: together they would be a scan from the oldest to the newest.
            UPDATE notification_contents c
            SET title = NULL, body = '', scrubbed_at = COALESCE(c.scrubbed_at, now()),
                to_sms = left(c.to_sms, 0), to_email = left(c.to_email, 0),
                to_push = left(c.to_push, 0), to_whatsapp = left(c.to_whatsapp, 0)
            WHERE c.accepted_at = one.accepted_at AND c.notification_id = one.notification_id
              AND (c.scrubbed_at IS NULL OR concat(c.to_sms, c.to_email, c.to_push, c.to_whatsapp) <> '');
            removed := removed + 1;
        ELSE
            PERFORM FROM notification_contents c
            WHERE c.accepted_at = one.accepted_at AND c.notification_id = one.notification_id;
            -- It is being written; otherwise retention has removed it.
            CONTINUE WHEN FOUND;
        END IF;
        DELETE FROM expiring_contents WHERE ctid = one.place;
        taken := taken + 1;
    END LOOP;
END $$;
