-- No worker of 0.1.0 runs any more, so that test keys may exist (0007_before_api_key_scopes.sql).

ALTER TABLE api_keys DROP CONSTRAINT IF EXISTS api_keys_no_test_keys_yet;
