-- A recipient of a broadcast's list or upload, by the number of its line.
CREATE TYPE broadcast_recipient_v1 AS (
    number    bigint,
    user_id   text,
    addresses text,
    data      text
);
