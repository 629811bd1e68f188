-- A change of a delivery that sends nothing. `new_round`: the retry schedule starts again.
CREATE TYPE delivery_update_v1 AS (
    notification_id uuid,
    delivery_id     uuid,
    version         integer,
    status          text,
    reason_code     text,
    pass_number     smallint,
    new_round       boolean,
    next_pass_at    timestamptz,
    due_at          timestamptz,
    expires_at      timestamptz,
    release         boolean,
    event           text,
    data            text
);
