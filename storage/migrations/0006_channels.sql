-- WhatsApp: a user's own number there, where it is another than their phone. Web Push: a browser's
-- subscription, its endpoint with its keys behind a `#` (domain/web_push.py).
ALTER TABLE users ADD COLUMN whatsapp text;
ALTER TABLE notification_contents ADD COLUMN to_whatsapp text;
ALTER TABLE devices ADD COLUMN webpush text;
