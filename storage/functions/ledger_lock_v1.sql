-- The first step of every ledger write: lock its notifications in id order. Every writer of a delivery, an attempt
-- or a due entry holds this lock, so that writers of one notification take turns.
-- Returns those of strategy `first`.
CREATE FUNCTION ledger_lock_v1(ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        WITH locked AS MATERIALIZED (
            SELECT id, strategy FROM notifications WHERE id = ANY(ids) ORDER BY id FOR NO KEY UPDATE
        )
        SELECT COALESCE(array_agg(id) FILTER (WHERE strategy = 'first'), '{}') FROM locked
    );
END $$;
