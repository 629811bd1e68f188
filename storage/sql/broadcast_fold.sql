-- Fold a broadcast's tallies: the same sums in fewer rows. Two at once fold what each of them got hold of.
WITH old AS (
    DELETE FROM broadcast_tallies WHERE broadcast_id = $1 RETURNING status, change
)
INSERT INTO broadcast_tallies (broadcast_id, status, change)
SELECT $1, status, sum(change) FROM old GROUP BY status HAVING sum(change) <> 0
