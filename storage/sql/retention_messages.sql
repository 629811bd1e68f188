-- Whose provider messages are, once their month's attempts are gone: those of months older than $1 whole ones
-- and older than any partition that is left, at most $2 of them. A month that is kept keeps them, and those of
-- the months after it, so that no round walks over rows that it must leave.
WITH old AS (
    SELECT provider, provider_message_id FROM provider_messages
    WHERE accepted_at < LEAST(
        date_trunc('month', now()) - make_interval(months => $1),
        (SELECT min(to_timestamp(right(child.relname, 7), 'YYYY_MM'))
         FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = 'notification_attempts'::regclass))
    ORDER BY accepted_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM provider_messages
    WHERE (provider, provider_message_id) IN (SELECT provider, provider_message_id FROM old)
    RETURNING provider
)
SELECT count(*) FROM gone
