-- Whether an address is suppressed for its tenant or for all tenants; it is spelled as suppression_key_v1 spells it.
-- One look-up per key, whatever the statistics say: EXISTS may become a join that scans the tenant's list, a scalar
-- subquery may not.
-- It returns a set of one row, so that Postgres inlines it into the statement that calls it.
CREATE FUNCTION is_suppressed_v1(of_tenant text, of_channel text, of_address text)
RETURNS TABLE (suppressed boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT (SELECT true FROM suppressions s
            WHERE s.tenant IN (of_tenant, '*') AND s.channel = of_channel AND s.address = of_address
            LIMIT 1) IS NOT NULL
$$;
