-- Which of these notifications are over.
SELECT id FROM notifications WHERE id = ANY($1::uuid[]) AND final_at IS NOT NULL
