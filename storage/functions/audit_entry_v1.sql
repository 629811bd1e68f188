-- An entry of the audit log, with its place in the chain.
CREATE TYPE audit_entry_v1 AS (
    sequence   bigint,
    at         timestamptz,
    actor      text,
    actor_name text,
    tenant     text,
    action     text,
    subject    text,
    before     text,
    after      text,
    reason     text,
    request_id text,
    previous   bytea,
    hash       bytea
);
