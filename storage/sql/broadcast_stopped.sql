-- Nothing of this page will be sent any more.
UPDATE broadcast_pages SET stopped = true WHERE broadcast_id = $1 AND last_no = $2
