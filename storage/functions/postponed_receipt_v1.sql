-- A receipt of the inbox that matches no attempt yet. It is due again after `wait_s` seconds; without them it becomes
-- an orphan.
CREATE TYPE postponed_receipt_v1 AS (
    provider  text,
    event_key text,
    wait_s    float8
);
