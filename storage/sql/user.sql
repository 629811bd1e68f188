-- A user's own row.
SELECT phone, email, whatsapp, time_zone, quiet_start, quiet_end FROM users WHERE tenant = $1 AND user_id = $2
