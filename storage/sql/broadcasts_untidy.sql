-- Broadcasts with more than $1 rows of tallies, $2 at most.
SELECT broadcast_id FROM broadcast_tallies GROUP BY broadcast_id HAVING count(*) > $1 LIMIT $2
