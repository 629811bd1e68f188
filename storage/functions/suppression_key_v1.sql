-- How the suppression list spells an address: as `suppression_key` in Python, so also independent of the database's
-- locale.
CREATE FUNCTION suppression_key_v1(channel text, address text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE channel
               WHEN 'email' THEN lower(address COLLATE pg_unicode_fast)
               WHEN 'push' THEN split_part(address, '#', 1)
               ELSE address
           END COLLATE "default"
$$;
