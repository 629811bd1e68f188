-- A provider's word that an address takes no more; the first reason is kept.
INSERT INTO suppressions (tenant, channel, address, reason, source) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
