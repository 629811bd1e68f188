-- How an address stands in the suppression list: as domain.contacts.suppression_key spells it.
CREATE OR REPLACE FUNCTION suppression_key(channel text, address text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE channel WHEN 'email' THEN lower(address) WHEN 'push' THEN split_part(address, '#', 1) ELSE address END
$$;
