-- Whom notifications go to, what they want, and who may submit.

CREATE TABLE users (
    tenant      text NOT NULL,
    user_id     text NOT NULL,
    phone       text,
    email       text,
    time_zone   text,
    quiet_start text,
    quiet_end   text,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_id)
);

-- A token that a provider called dead is emptied here, and why is kept.
CREATE TABLE devices (
    tenant             text NOT NULL,
    user_id            text NOT NULL,
    device_id          text NOT NULL,
    fcm_token          text,
    apns_token         text,
    registered_at      timestamptz NOT NULL DEFAULT now(),
    deactivated_at     timestamptz,
    deactivated_reason text,
    PRIMARY KEY (tenant, user_id, device_id)
);

-- Opt-ins and opt-outs; type '*' speaks for every type, a named type goes before it.
CREATE TABLE user_notification_settings (
    tenant     text NOT NULL,
    user_id    text NOT NULL,
    type       text NOT NULL,
    channel    text NOT NULL,
    enabled    boolean NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_id, channel, type)
);

CREATE TABLE suppressions (
    tenant     text NOT NULL,
    channel    text NOT NULL,
    address    text NOT NULL,
    reason     text NOT NULL,
    source     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, channel, address)
);

-- What operators and the circuits say of a provider. No row: active, closed.
CREATE TABLE provider_states (
    name       text PRIMARY KEY,
    state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'drained')),
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
