-- As claim.sql, for a page: what needs no workflow of its own, and of it no more than its id. Nor does its
-- commit wait for the disk.
WITH picked AS (
    SELECT id, due_at FROM due WHERE lane = $1 AND solo = false AND due_at <= now()
    ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE due
    SET claim = gen_random_uuid(),
        page_id = $4,
        lease_until = now() + make_interval(secs => $3),
        due_at = now() + make_interval(secs => $3)
    WHERE due.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING due.id, due.claim
)
SELECT id, claim, EXTRACT(EPOCH FROM now() - due_at)::float8 AS late_s,
       (SELECT set_config('synchronous_commit', 'off', true)) AS commits
FROM claimed JOIN picked USING (id) ORDER BY due_at
