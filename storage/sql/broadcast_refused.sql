-- A page of the lines of an upload that were not accepted, in order, after line $3.
SELECT no, code, pointer, message
FROM broadcast_refusals
WHERE broadcast_id = $1 AND upload = $2 AND no > $3
ORDER BY no
LIMIT $4
