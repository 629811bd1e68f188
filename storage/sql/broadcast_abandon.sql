-- A draft whose audience never came is cancelled, unless an upload of it began again.
UPDATE broadcasts SET state = 'cancelled', reason_code = $2
WHERE id = $1 AND state = 'draft' AND due_at < now() + interval '1 hour'
RETURNING id
