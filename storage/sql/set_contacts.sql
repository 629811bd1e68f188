-- Replace a user's addresses; what they want stays.
INSERT INTO users (tenant, user_id, phone, email) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, user_id) DO UPDATE SET phone = excluded.phone, email = excluded.email, updated_at = now()
