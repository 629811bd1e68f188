-- name: list_provider_states
-- What operators and the circuits say of the providers.
SELECT name, status, circuit, circuit_at FROM provider_states

-- name: set_provider_status
-- An operator drains a provider, or lets it send again; the workers listen.
WITH written AS (
    INSERT INTO provider_states (name, status) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET status = excluded.status, updated_at = now()
    RETURNING name
)
SELECT pg_notify('herald_providers', name) FROM written

-- name: list_drained_providers
-- The providers that an operator took out of use.
SELECT name FROM provider_states WHERE status = 'drained'

-- name: record_circuit
-- The state of a provider's circuit, according to the last worker that saw it change.
INSERT INTO provider_states (name, circuit, circuit_at) VALUES ($1, $2, now())
ON CONFLICT (name) DO UPDATE SET circuit = excluded.circuit, circuit_at = now(), updated_at = now()
