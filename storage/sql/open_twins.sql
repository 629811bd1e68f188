-- Other open attempts with the same text to the same address: a look-up cannot tell them apart.
SELECT count(*) FROM notification_attempts
WHERE match_key = $1 AND outcome IS NULL AND delivery_id <> $2
