-- Users: their addresses and devices, their preferences, and the suppressed addresses.

-- `whatsapp`: the user's WhatsApp number, where it differs from their phone.
CREATE TABLE users (
    tenant      text NOT NULL,
    user_id     text NOT NULL,
    phone       text,
    email       text,
    whatsapp    text,
    time_zone   text,
    quiet_start text,
    quiet_end   text,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_id)
);

-- A token that a provider called dead is emptied, and the reason kept. `webpush`: a browser's subscription, its
-- endpoint with its keys after a `#`. `confirmed_at`: when the app last registered the same tokens again; a provider's
-- verdict may be older than that. NULL: not since the first registration.
CREATE TABLE devices (
    tenant             text NOT NULL,
    user_id            text NOT NULL,
    device_id          text NOT NULL,
    fcm_token          text,
    apns_token         text,
    webpush            text,
    registered_at      timestamptz NOT NULL DEFAULT now(),
    confirmed_at       timestamptz,
    deactivated_at     timestamptz,
    deactivated_reason text,
    PRIMARY KEY (tenant, user_id, device_id)
);

-- Opt-ins and opt-outs. Type '*' stands for every type; a named type takes precedence.
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

-- Users' replies to our senders, reduced to STOP or START. A sender belongs to the installation, so that a
-- reply applies to every tenant: its suppression is stored under the tenant `*`, which no API key has.
CREATE TABLE replies (
    provider    text NOT NULL,
    event_key   text NOT NULL,
    channel     text NOT NULL,
    address     text NOT NULL,
    word        text NOT NULL CHECK (word IN ('stop', 'start')),
    said_at     timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, event_key)
);

CREATE INDEX replies_of ON replies (channel, address, said_at);
