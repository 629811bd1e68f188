-- A line of an upload that was not accepted, and why.
CREATE TYPE broadcast_refusal_v1 AS (
    number  bigint,
    code    text,
    pointer text,
    message text
);
