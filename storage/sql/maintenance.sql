-- name: ensure_partitions
-- Create the partitions of the coming $1 months.
SELECT ensure_partitions_v1($1)

-- name: count_drift
-- Count inconsistencies in the ledger. Each write leaves it consistent, so that every count except `overdue` and
-- `orphan_receipts` is a fault. Only the oldest $1 live notifications are examined.
WITH live AS (
    SELECT id, status, accepted_at FROM notifications
    WHERE final_at IS NULL OR status >= 'outcome_unknown'
    ORDER BY accepted_at LIMIT $1
), derived AS (
    -- One key look-up each, whatever the statistics say: a plain join may scan all deliveries.
    SELECT live.id, live.status, live.accepted_at, own.status AS derived_status, own.expects, own.unsent
    FROM live CROSS JOIN LATERAL (
        SELECT max(d.status) AS status,
               COALESCE(bool_or(d.due_at IS NOT NULL OR d.status >= 'outcome_unknown'), false) AS expects,
               count(*) FILTER (WHERE d.status = 'sending' AND NOT EXISTS (
                   SELECT FROM notification_attempts a
                   WHERE a.delivery_id = d.id AND a.accepted_at = d.accepted_at AND a.outcome IS NULL)) AS unsent
        FROM deliveries d WHERE d.accepted_at = live.accepted_at AND d.notification_id = live.id
    ) own
)
SELECT (SELECT count(*) FROM derived
        WHERE expects AND accepted_at < now() - interval '1 minute'
          AND (SELECT true FROM due WHERE due.id = derived.id) IS NULL) AS live_without_due,
       (SELECT COALESCE(sum(unsent), 0)::bigint FROM derived) AS sending_without_open_attempt,
       (SELECT count(*) FROM notification_attempts a
        WHERE a.outcome IS NULL
          AND (SELECT d.status FROM deliveries d WHERE d.id = a.delivery_id) IS DISTINCT FROM 'sending')
           AS open_attempt_not_sending,
       (SELECT count(*) FROM due
        WHERE lane = ANY('{0,1,2,3}') AND dedicated_workflow = ANY('{true,false}')
          AND due_at < now() - interval '5 minutes') AS overdue,
       (SELECT count(*) FROM receipt_inbox WHERE orphaned_at IS NOT NULL) AS orphan_receipts,
       (SELECT count(*) FROM derived WHERE status IS DISTINCT FROM derived_status) AS status_mismatch

-- name: requeue_lost
-- Put live notifications that lost their queue entry back into the queue, each for a dedicated workflow: due when their
-- deliveries say, or now. A notification that another transaction is writing is skipped.
WITH lost AS (
    SELECT n.id, n.tenant, n.lane, n.accepted_at FROM notifications n
    WHERE (n.final_at IS NULL OR n.status >= 'outcome_unknown')
      AND n.accepted_at < now() - interval '1 minute'
      -- Key look-ups: EXISTS may become a join that reads whole tables.
      AND (SELECT true FROM due WHERE due.id = n.id) IS NULL
      AND (SELECT true FROM deliveries d
           WHERE d.accepted_at = n.accepted_at AND d.notification_id = n.id
             AND (d.due_at IS NOT NULL OR d.status >= 'outcome_unknown') LIMIT 1)
    ORDER BY n.accepted_at LIMIT $1
    FOR NO KEY UPDATE OF n SKIP LOCKED
)
INSERT INTO due (id, lane, due_at, dedicated_workflow, turn)
SELECT id, lane, GREATEST(now(), (SELECT min(due_at) FROM deliveries d
                                  WHERE d.accepted_at = lost.accepted_at AND d.notification_id = lost.id)), true,
       crc32(convert_to(tenant, 'UTF8')) - 2147483648
FROM lost
ON CONFLICT DO NOTHING
RETURNING id, (SELECT pg_notify('herald_due', ''))

-- name: count_dead_letters
-- Notifications that wait for an operator, and how many seconds ago the oldest was accepted.
SELECT tenant, type, status, count(*) AS count,
       EXTRACT(epoch FROM now() - min(accepted_at))::float8 AS oldest_age_s
FROM notifications
WHERE status IN ('outcome_unknown', 'dead_lettered')
GROUP BY tenant, type, status
ORDER BY tenant, type, status

-- name: revive_orphans
-- Make orphan receipts due again whose message now belongs to an attempt (a look-up found it).
UPDATE receipt_inbox SET orphaned_at = NULL, due_at = now()
-- By place: a join with the keys may read the whole inbox.
WHERE ctid = ANY(ARRAY(
    SELECT i.ctid
    FROM receipt_inbox i,
         -- The limit makes it one key look-up per orphan: a plain join may scan every message.
         LATERAL (SELECT * FROM provider_messages
                  WHERE provider = i.provider AND provider_message_id = i.provider_message_id LIMIT 1) m,
         LATERAL (SELECT FROM notification_attempts
                  WHERE delivery_id = m.delivery_id AND number = m.attempt_number AND accepted_at = m.accepted_at
                  LIMIT 1) a
    WHERE i.orphaned_at IS NOT NULL
    LIMIT $1
    FOR UPDATE OF i SKIP LOCKED
))
RETURNING event_key, (SELECT pg_notify('herald_receipts', ''))

-- name: drop_orphans
-- Drop at most $2 receipts that have been orphans for more than $1 seconds.
DELETE FROM receipt_inbox WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM receipt_inbox
    WHERE orphaned_at < now() - make_interval(secs => $1)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
))
RETURNING event_key

-- name: scrub_expired
-- Remove the contents of at most $1 notifications that have expired and must not keep them.
SELECT taken, removed FROM scrub_expired_v1($1)

-- name: watch_parked_contents
-- Put expired dead letters and unknown outcomes that still have a content which they must not keep, at most $1, among
-- those whose content is to be removed: processes of release 0.1.0 accepted them without that.
INSERT INTO expiring_contents (expires_at, notification_id, accepted_at)
SELECT n.expires_at, n.id, n.accepted_at
FROM notifications n
     CROSS JOIN LATERAL (SELECT c.scrubbed_at FROM notification_contents c
                         WHERE c.accepted_at = n.accepted_at AND c.notification_id = n.id OFFSET 0) c
WHERE n.status IN ('outcome_unknown', 'dead_lettered') AND n.scrub AND n.expires_at < now() - interval '5 minutes'
  AND c.scrubbed_at IS NULL
LIMIT $1
RETURNING notification_id

-- name: inspect_database
-- What `herald doctor` asks of the server: its version and clock, whether this connection is encrypted, and whether
-- the coming month has its partitions. The table is missing before the first migration.
SELECT current_setting('server_version_num')::integer AS version, clock_timestamp() AS now,
       COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
       to_regclass('notifications') IS NOT NULL AS is_migrated,
       to_regclass('notification_contents_' || to_char((now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM'))
           IS NOT NULL AS has_next_month

-- name: ping
-- Whether Postgres answers.
SELECT 1
