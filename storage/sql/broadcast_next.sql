-- The next recipients of a broadcast, in order.
SELECT no, user_id, addresses, data
FROM broadcast_recipients
WHERE broadcast_id = $1 AND upload = $2 AND no > $3
ORDER BY no
LIMIT $4
