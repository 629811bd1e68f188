-- How a provider's circuit stands, as the worker that saw it change last tells it.
INSERT INTO provider_states (name, circuit, circuit_at) VALUES ($1, $2, now())
ON CONFLICT (name) DO UPDATE SET circuit = excluded.circuit, circuit_at = now(), updated_at = now()
