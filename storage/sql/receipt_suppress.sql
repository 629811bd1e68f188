-- Addresses that a provider told us to leave alone.
INSERT INTO suppressions (tenant, channel, address, reason, source)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS t (
    tenant, channel, address, reason, source
)
ORDER BY tenant, channel, address
ON CONFLICT DO NOTHING
