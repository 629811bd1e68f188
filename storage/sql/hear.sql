-- What a person answered: kept once, and done unless they have said something later. START lifts what STOP brought
-- about and nothing else: a bounce, a complaint or an operator's suppression is another row.
WITH heard AS (
    INSERT INTO replies (provider, event_key, channel, address, word, said_at)
    VALUES ($1, $2, $3, $4, $5, LEAST(COALESCE($6, now()), now()))
    ON CONFLICT DO NOTHING
    RETURNING provider, channel, address, word, said_at
), newest AS (
    SELECT h.* FROM heard h
    WHERE NOT EXISTS (SELECT FROM replies r
                      WHERE r.channel = h.channel AND r.address = h.address AND r.said_at > h.said_at)
), stopped AS (
    INSERT INTO suppressions (tenant, channel, address, reason, source)
    SELECT '*', channel, address, 'stop', provider FROM newest WHERE word = 'stop'
    ON CONFLICT DO NOTHING
), started AS (
    DELETE FROM suppressions s USING newest n
    WHERE n.word = 'start' AND s.tenant = '*' AND s.channel = $3 AND s.address = $4 AND s.reason = 'stop'
)
SELECT word FROM heard
