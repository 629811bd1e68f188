-- A provider's word that somebody told the sender to stop; START lifts it (hear.sql).
INSERT INTO suppressions (tenant, channel, address, reason, source) VALUES ('*', $1, $2, 'stop', $3)
ON CONFLICT DO NOTHING
