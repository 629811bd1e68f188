-- Recipients that will not be accepted any more, $2 at a time: of a broadcast that is over, or of uploads that
-- were cut short.
DELETE FROM broadcast_recipients WHERE (broadcast_id, upload, no) IN (
    SELECT r.broadcast_id, r.upload, r.no
    FROM broadcasts b JOIN broadcast_recipients r ON r.broadcast_id = b.id
    WHERE b.id = $1 AND b.state IN ('completed', 'cancelled')
    LIMIT $2
)
RETURNING no
