-- A user's opt-in or opt-out.
CREATE TYPE setting_v1 AS (
    type    text,
    channel text,
    enabled boolean
);
