-- name: list_suppressions
-- A page of a tenant's suppressed addresses. storage/users.py replaces the markers with conditions, so that each
-- combination is a statement with its own plan. STOP suppressions (tenant `*`) are shown only when the tenant names
-- the address.
SELECT channel, address, reason, source, created_at FROM suppressions
WHERE tenant /* of */ = $1 /* conditions */
ORDER BY channel, address LIMIT $2

-- name: suppress
-- Suppress an address; one that was suppressed before keeps its first reason. `xmax` is 0 in a row that was inserted.
INSERT INTO suppressions (tenant, channel, address, reason, source) VALUES ($1, $2, $3, $4, 'api')
ON CONFLICT (tenant, channel, address) DO UPDATE SET reason = suppressions.reason
RETURNING channel, address, reason, source, created_at, xmax = 0 AS added

-- name: suppress_by_verdict
-- A provider reports that an address no longer takes messages. An earlier reason is kept.
INSERT INTO suppressions (tenant, channel, address, reason, source) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING

-- name: suppress_globally
-- A provider reports that the user asked the sender to stop. START lifts it (record_reply).
INSERT INTO suppressions (tenant, channel, address, reason, source) VALUES ('*', $1, $2, 'stop', $3)
ON CONFLICT DO NOTHING

-- name: is_suppressed_globally
-- Whether the user asked our senders to stop.
SELECT true FROM suppressions WHERE tenant = '*' AND channel = $1 AND address = $2

-- name: unsuppress
-- Allow an address again.
DELETE FROM suppressions WHERE tenant = $1 AND channel = $2 AND address = $3
RETURNING channel, address, reason, source, created_at

-- name: record_reply
-- Record what a user answered, once, and act on it unless a later answer is known. START lifts the suppression by STOP
-- and nothing else: a bounce, a complaint or an operator's suppression is another row.
WITH recorded AS (
    INSERT INTO replies (provider, event_key, channel, address, word, said_at)
    VALUES ($1, $2, $3, $4, $5, LEAST(COALESCE($6, now()), now()))
    ON CONFLICT DO NOTHING
    RETURNING provider, channel, address, word, said_at
), newest AS (
    SELECT r.* FROM recorded r
    -- One key look-up: NOT EXISTS may become a join that reads all replies.
    WHERE (SELECT true FROM replies later
           WHERE later.channel = r.channel AND later.address = r.address AND later.said_at > r.said_at LIMIT 1) IS NULL
), stopped AS (
    INSERT INTO suppressions (tenant, channel, address, reason, source)
    SELECT '*', channel, address, 'stop', provider FROM newest WHERE word = 'stop'
    ON CONFLICT DO NOTHING
), started AS (
    DELETE FROM suppressions s USING newest n
    WHERE n.word = 'start' AND s.tenant = '*' AND s.channel = $3 AND s.address = $4 AND s.reason = 'stop'
)
SELECT word FROM recorded
