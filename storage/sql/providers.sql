-- name: list_providers
-- The status and the circuit of each provider that has a row.
SELECT name, status, circuit, circuit_at FROM providers

-- name: set_provider_status
-- Drain a provider or make it active again, and notify the workers. No row if it has this status already.
WITH written AS (
    INSERT INTO providers AS known (name, status)
    SELECT $1, $2 WHERE $2 <> 'active' OR (SELECT true FROM providers WHERE name = $1)
    ON CONFLICT (name) DO UPDATE SET status = excluded.status, updated_at = now()
    WHERE known.status <> excluded.status
    RETURNING name
)
SELECT pg_notify('herald_providers', name) FROM written

-- name: list_drained_providers
-- The providers that an operator drained.
SELECT name FROM providers WHERE status = 'drained'

-- name: record_circuit
-- Record the state of a provider's circuit, according to the last worker that saw it change.
INSERT INTO providers (name, circuit, circuit_at) VALUES ($1, $2, now())
ON CONFLICT (name) DO UPDATE SET circuit = excluded.circuit, circuit_at = now(), updated_at = now()
