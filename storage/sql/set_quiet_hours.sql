-- Replace a user's time zone and quiet hours; their contacts stay.
INSERT INTO users (tenant, user_id, time_zone, quiet_start, quiet_end) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, user_id) DO UPDATE
SET time_zone = excluded.time_zone, quiet_start = excluded.quiet_start, quiet_end = excluded.quiet_end,
    updated_at = now()
