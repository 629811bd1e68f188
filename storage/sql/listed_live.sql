-- A page of a tenant's notifications of a status that only what is not over has, newest first: found among
-- those, for of all that there ever was hardly any has it. storage/reads.py puts the conditions in.
SELECT n.id, n.accepted_at
FROM notifications n
WHERE (n.final_at IS NULL OR n.status >= 'outcome_unknown')
  -- Spelt so that the index of the tenant's whole history is of no use.
  AND n.tenant || '' = $1 /* conditions */
ORDER BY n.accepted_at DESC, n.id DESC
LIMIT $2
