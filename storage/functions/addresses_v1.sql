-- The addresses of a notification, by channel: its own take precedence over the user's. Channels without an address
-- are missing, and so is push, which goes to devices.
CREATE FUNCTION addresses_v1(content notification_contents, owner users) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'sms', COALESCE(content.to_sms, owner.phone),
        'email', COALESCE(content.to_email, owner.email),
        'whatsapp', COALESCE(content.to_whatsapp, owner.whatsapp, owner.phone)
    ))
$$;
