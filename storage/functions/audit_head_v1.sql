-- The last entry of the audit log, and the time for the next one. The lock is held until the transaction ends, so that
-- one transaction at a time appends: call it last, and commit soon. A separate statement takes the lock, because a
-- statement sees only what was committed before it began.
CREATE FUNCTION audit_head_v1() RETURNS TABLE (sequence bigint, hash bytea, next_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('herald/audit_log', 0));
    RETURN QUERY
    SELECT head.sequence, head.hash, GREATEST(clock_timestamp(), head.at)
    FROM (SELECT) AS always
    LEFT JOIN LATERAL (
        SELECT l.sequence, l.hash, l.at FROM audit_log l ORDER BY l.sequence DESC LIMIT 1
    ) head ON true;
END $$;
