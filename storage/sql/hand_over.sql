-- What a page does not carry any further: due at once, for a workflow of its own where it is solo, as long as
-- the claim holds. What somebody is writing at this moment is left to its lease.
WITH held AS (
    SELECT due.id, given.solo
    FROM unnest($1::uuid[], $2::uuid[], $3::boolean[]) AS given (id, claim, solo)
    JOIN due ON due.id = ANY($1::uuid[]) AND due.id = given.id AND due.claim = given.claim
    ORDER BY due.id FOR UPDATE OF due SKIP LOCKED
), handed AS (
    UPDATE due
    SET due_at = now(), lease_until = NULL, page_id = NULL, solo = due.solo OR held.solo
    FROM held WHERE due.id = ANY($1::uuid[]) AND due.id = held.id
    RETURNING due.id
)
SELECT id, (SELECT pg_notify('herald_due', '')) FROM handed
