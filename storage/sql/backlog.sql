-- How much is due in each lane that a page may take, counted up to $2.
SELECT lane, (SELECT count(*) FROM (
    SELECT FROM due WHERE due.lane = asked.lane AND solo = false AND due_at <= now() LIMIT $2) AS found) AS count
FROM unnest($1::smallint[]) AS asked (lane)
