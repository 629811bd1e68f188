-- What the ledger says of itself that cannot be. Each write leaves it consistent, so that every count here
-- but `overdue` is a fault. Of what is live, the oldest $1 are looked at.
WITH live AS (
    SELECT id, status, accepted_at FROM notifications
    WHERE final_at IS NULL OR status >= 'outcome_unknown'
    ORDER BY accepted_at LIMIT $1
), derived AS (
    -- Each by its key, whatever the statistics say: a join may walk all deliveries, an aggregate of each may not.
    SELECT live.id, live.status, live.accepted_at, own.state, own.expects, own.unsent
    FROM live CROSS JOIN LATERAL (
        SELECT max(d.state) AS state,
               COALESCE(bool_or(d.due_at IS NOT NULL OR d.state >= 'outcome_unknown'), false) AS expects,
               count(*) FILTER (WHERE d.state = 'sending' AND NOT EXISTS (
                   SELECT FROM notification_attempts a
                   WHERE a.delivery_id = d.id AND a.accepted_at = d.accepted_at AND a.outcome IS NULL)) AS unsent
        FROM deliveries d WHERE d.notification_id = live.id
    ) own
)
SELECT (SELECT count(*) FROM derived
        WHERE expects AND accepted_at < now() - interval '1 minute'
          AND (SELECT true FROM due WHERE due.id = derived.id) IS NULL) AS live_without_due,
       (SELECT COALESCE(sum(unsent), 0)::bigint FROM derived) AS sending_without_open_attempt,
       (SELECT count(*) FROM notification_attempts a
        WHERE a.outcome IS NULL
          AND (SELECT d.state FROM deliveries d WHERE d.id = a.delivery_id) IS DISTINCT FROM 'sending')
           AS open_attempt_not_sending,
       (SELECT count(*) FROM due
        WHERE lane = ANY('{0,1,2,3}') AND solo = ANY('{true,false}') AND due_at < now() - interval '5 minutes') AS overdue,
       (SELECT count(*) FROM receipt_inbox WHERE orphaned_at IS NOT NULL) AS orphan_receipts,
       (SELECT count(*) FROM derived WHERE status IS DISTINCT FROM state) AS status_mismatch
