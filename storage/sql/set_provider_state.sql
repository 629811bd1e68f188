-- An operator drains a provider, or lets it send again; the workers listen.
WITH written AS (
    INSERT INTO provider_states (name, state) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET state = excluded.state, updated_at = now()
    RETURNING name
)
SELECT pg_notify('herald_providers', name) FROM written
