-- What people answered to our senders, reduced to the word that counts. A sender belongs to the installation, so
-- what is said to it holds for every tenant: such a suppression stands under the tenant `*`, which no key has.
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
