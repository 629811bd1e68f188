-- Contents that must be gone at their expiry, whatever the status: of types with `scrub_when_final`.

-- When the content of a notification must be gone. A row is removed together with the content. Narrow, so that an
-- acceptance pays for one short row and one entry at the end of an index, and of no other type.
CREATE TABLE expiring_contents (
    expires_at      timestamptz NOT NULL,
    notification_id uuid NOT NULL,
    accepted_at     timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX expiring_contents_next ON expiring_contents (expires_at);

-- The keys of the metadata that go together with the content.
ALTER TABLE notification_contents ADD COLUMN private_metadata text[];

-- Wherever the content is removed, these keys are removed with it: by the function that finishes a notification too,
-- which knows nothing of them.
CREATE FUNCTION scrub_metadata_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.metadata := NEW.metadata - NEW.private_metadata;
    RETURN NEW;
END $$;

CREATE TRIGGER scrub_metadata BEFORE UPDATE OF scrubbed_at ON notification_contents
FOR EACH ROW WHEN (OLD.scrubbed_at IS NULL AND NEW.scrubbed_at IS NOT NULL AND NEW.private_metadata IS NOT NULL)
EXECUTE FUNCTION scrub_metadata_v1();

INSERT INTO expiring_contents (expires_at, notification_id, accepted_at)
SELECT expires_at, id, accepted_at FROM notifications
WHERE (final_at IS NULL OR status >= 'outcome_unknown') AND scrub;
