-- A user exists, with or without contacts, and is locked: what belongs to them changes in turns.
INSERT INTO users (tenant, user_id) VALUES ($1, $2)
ON CONFLICT (tenant, user_id) DO UPDATE SET updated_at = now()
