-- A user's device with its tokens.
CREATE TYPE device_v1 AS (
    device_id  text,
    fcm_token  text,
    apns_token text,
    webpush    text
);
