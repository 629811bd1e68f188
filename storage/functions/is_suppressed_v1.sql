-- Whether nothing may be sent to an address, which is spelt as suppression_key_v1 spells it: for its tenant, or for
-- all of them. One look at each key, whatever the statistics say: EXISTS may become a join that walks the tenant's
-- list, and a scalar subquery may not.
-- A set of one row, so that Postgres makes it a part of the statement that asks.
CREATE FUNCTION is_suppressed_v1(of_tenant text, of_channel text, of_address text)
RETURNS TABLE (suppressed boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT (SELECT true FROM suppressions s
            WHERE s.tenant IN (of_tenant, '*') AND s.channel = of_channel AND s.address = of_address
            LIMIT 1) IS NOT NULL
$$;
