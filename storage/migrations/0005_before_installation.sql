-- The installation: the status and circuit of its providers, and its API keys.

-- No row: the provider is active and its circuit closed.
CREATE TABLE providers (
    name       text PRIMARY KEY,
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'drained')),
    circuit    text NOT NULL DEFAULT 'closed' CHECK (circuit IN ('closed', 'open', 'half_open')),
    circuit_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    prefix     text PRIMARY KEY,
    tenant     text NOT NULL,
    name       text NOT NULL,
    digest     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
