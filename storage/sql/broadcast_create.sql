-- A new broadcast; no row if its key was used before. One whose audience is known begins by itself.
INSERT INTO broadcasts (
    id, tenant, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version, state, type, channels, strategy,
    title, body, data, metadata, audience, query, gathered_to, rate_per_s, window_start, window_end, window_zone,
    start_at, expires_at, total, started_at, due_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9::text[], $10,
    $11, $12, $13::jsonb, $14::jsonb, $15, $16::jsonb, CASE WHEN $15 = 'query' THEN '' END, $17, $18, $19, $20,
    $21, $22, $23, CASE WHEN $7 = 'running' THEN now() END,
    now() + CASE WHEN $7 = 'running' THEN interval '0' ELSE make_interval(secs => $24) END
)
ON CONFLICT DO NOTHING
RETURNING id, (CASE WHEN $7 = 'running' THEN pg_notify('herald_broadcasts', '') END)
