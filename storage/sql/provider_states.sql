-- What operators and the circuits say of the providers.
SELECT name, state, circuit, circuit_at FROM provider_states
