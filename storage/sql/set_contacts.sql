-- Replace a user's addresses; what they want stays.
INSERT INTO users (tenant, user_id, phone, email, whatsapp) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, user_id) DO UPDATE SET phone = excluded.phone, email = excluded.email, whatsapp = excluded.whatsapp,
    updated_at = now()
