-- Broadcasts as they are now, with how their notifications stand.
SELECT b.*, now() AS now,
       b.state <> 'cancelled' OR (
            SELECT true FROM broadcast_pages p WHERE p.broadcast_id = b.id AND NOT p.stopped LIMIT 1
       ) IS NULL AS stopped,
       (SELECT json_object_agg(status, change) FROM (
            SELECT status, sum(change)::bigint AS change FROM broadcast_tallies
            WHERE broadcast_id = b.id GROUP BY status) t) AS changes
FROM broadcasts b
WHERE b.id = ANY($1::uuid[])
