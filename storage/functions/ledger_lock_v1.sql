-- The first step of every change of a delivery: lock its notifications in id order. Every writer that changes
-- deliveries, or derives due entries from them, holds these locks: the writers of one notification take turns.
-- Without them are written: new notifications, which no one else knows; claims and their release, which change only
-- their due entries, row by row; the address for a dead letter; and a late outcome, which changes no delivery.
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
