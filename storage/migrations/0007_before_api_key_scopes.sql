-- What API keys allow, until when, and whose they are. Keys that exist keep what they could do for their
-- tenant, but not what concerns the whole installation.

ALTER TABLE api_keys
    -- Without a tenant, the key is the installation's. Processes of 0.1.0 refuse every key of the new form, so
    -- they never meet one.
    ALTER COLUMN tenant DROP NOT NULL,
    ADD COLUMN scopes       text[] NOT NULL DEFAULT '{send,read,read:pii,operate}',
    ADD COLUMN test         boolean NOT NULL DEFAULT false,
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN last_used_at timestamptz,
    -- The prefix of the key that created it; NULL: the command line.
    ADD COLUMN created_by   text,
    ADD CONSTRAINT api_keys_test_keys_have_a_tenant CHECK (tenant IS NOT NULL OR NOT test),
    -- Workers of 0.1.0 know nothing of test keys: they would send what one submits through real vendors. An after
    -- migration lifts this once none of them runs.
    ADD CONSTRAINT api_keys_no_test_keys_yet CHECK (NOT test);

-- For lists, newest first: of a tenant, and of all.
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, created_at DESC, prefix DESC);
CREATE INDEX api_keys_newest ON api_keys (created_at DESC, prefix DESC);
