-- When the app gave the same tokens again: a provider may know a token as dead since before that. NULL: not
-- since they were registered.
ALTER TABLE devices ADD COLUMN confirmed_at timestamptz;
