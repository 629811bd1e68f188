-- A running broadcast comes to its end, if it still stands where its end was seen.
UPDATE broadcasts SET state = $3, reason_code = $4
WHERE id = $1 AND state = 'running' AND cursor = $2
RETURNING id
