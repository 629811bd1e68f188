-- A new upload of a draft's audience: it has rows of its own, and the draft is not abandoned.
UPDATE broadcasts SET upload = upload + 1, due_at = now() + make_interval(secs => $3)
WHERE id = $1 AND tenant = $2 AND audience = 'upload' AND state = 'draft'
RETURNING upload
