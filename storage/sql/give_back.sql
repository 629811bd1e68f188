-- A claim that could not be acted on: due again soon, if it is still this claim.
UPDATE due SET due_at = now() + make_interval(secs => $3), lease_until = NULL WHERE id = $1 AND claim = $2
