-- The upload came whole and is still the newest: it is the audience, and the broadcast runs.
UPDATE broadcasts
SET state = 'running', total = $3, refused = $4, digest = $5, started_at = now(), due_at = now()
WHERE id = $1 AND upload = $2 AND state = 'draft'
RETURNING id, pg_notify('herald_broadcasts', '')
