-- The next page of a cancelled broadcast, after $2, that may still hold something to stop.
SELECT last_no, notification_ids FROM broadcast_pages
WHERE broadcast_id = $1 AND last_no > $2 AND NOT stopped
ORDER BY last_no LIMIT 1
