-- How the suppression list spells an address. The Python function of this name does the same.
CREATE FUNCTION suppression_key_v1(channel text, address text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE channel WHEN 'email' THEN lower(address) WHEN 'push' THEN split_part(address, '#', 1) ELSE address END
$$;
