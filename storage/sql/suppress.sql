-- Suppress an address; one that was suppressed before keeps its first reason.
INSERT INTO suppressions (tenant, channel, address, reason, source) VALUES ($1, $2, $3, $4, 'api')
ON CONFLICT (tenant, channel, address) DO UPDATE SET reason = suppressions.reason
RETURNING channel, address, reason, source, created_at
