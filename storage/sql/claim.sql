-- Claim what is due in one lane: its due_at is pushed forward by the lease, so that whatever is not moved
-- in time comes back by itself. Tokens tell a holder from one that came later. $4: which kinds, those with a
-- workflow of their own (solo) and those that a page may take; each kind has its own order in the index.
-- What a page handed over is due for its workflow to be started, and may have nothing to do for long: after
-- that it is due when its deliveries say, and not after each lease anew.
-- The commit does not wait for the disk: a claim that a crash takes back is due again, and whoever acted on it
-- finds the workflow running, or the delivery as another left it.
WITH picked AS (
    SELECT next.id, next.due_at
    FROM unnest($4::boolean[]) AS kind (solo),
         LATERAL (SELECT id, due_at FROM due WHERE lane = $1 AND due.solo = kind.solo AND due_at <= now()
                  ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) next
    ORDER BY next.due_at LIMIT $2
), claimed AS (
    UPDATE due
    SET claim = gen_random_uuid(),
        page_id = NULL,
        lease_until = now() + make_interval(secs => $3),
        due_at = GREATEST(now() + make_interval(secs => $3),
                          (SELECT min(d.due_at) FROM deliveries d WHERE d.notification_id = due.id))
    WHERE due.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING due.id, due.claim
)
SELECT n.id, n.tenant, n.user_id, n.type, n.lane, n.accepted_at, claimed.claim,
       EXTRACT(EPOCH FROM now() - picked.due_at)::float8 AS late_s,
       (SELECT array_agg(channel ORDER BY position) FROM deliveries WHERE notification_id = n.id) AS channels,
       addresses(c, u) AS addresses,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM claimed JOIN picked USING (id) JOIN notifications n USING (id)
LEFT JOIN notification_contents c ON c.notification_id = n.id AND c.accepted_at = n.accepted_at
LEFT JOIN users u ON u.tenant = n.tenant AND u.user_id = n.user_id
