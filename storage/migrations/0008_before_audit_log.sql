-- The audit log: every act of an operator and every reading in clear, in one chain of hashes (domain/audit.py).

-- `tenant`: whose object it is about; NULL: the installation's. `before` and `after` hold masked values only.
-- `sequence` begins at 1 and has no gaps: it is assigned under a lock, in the transaction of the act. `at` is a time
-- that every client can read.
CREATE TABLE audit_log (
    sequence   bigint PRIMARY KEY CHECK (sequence > 0),
    at         timestamptz NOT NULL CHECK (at >= '2000-01-01 00:00Z' AND at < '9999-01-01 00:00Z'),
    actor      text NOT NULL,
    actor_name text NOT NULL,
    tenant     text,
    action     text NOT NULL,
    subject    text NOT NULL,
    before     jsonb,
    after      jsonb,
    reason     text,
    request_id text,
    previous   bytea NOT NULL,
    hash       bytea NOT NULL
);

-- One for each filter: entries are listed newest first. The first serves lists without a filter, which repeat its
-- condition. Without the condition, Postgres might read it whole for a filter with few matches.
CREATE INDEX audit_log_newest ON audit_log (at, sequence) WHERE sequence > 0;
CREATE INDEX audit_log_of_tenant ON audit_log (tenant, at, sequence);
CREATE INDEX audit_log_by_actor ON audit_log (actor, at, sequence);
CREATE INDEX audit_log_of_action ON audit_log (action, at, sequence);
CREATE INDEX audit_log_about ON audit_log (subject, at, sequence);

CREATE FUNCTION audit_log_refuse_change_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse_change_v1();
-- Also in a session that has turned off ordinary triggers (session_replication_role).
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only;
