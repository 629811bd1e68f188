-- Before a page is accepted, in its transaction: the broadcast runs and stands where the page begins.
-- No row: it was paused or cancelled, or somebody else accepted this page.
SELECT id FROM broadcasts WHERE id = $1 AND state = 'running' AND cursor = $2 FOR NO KEY UPDATE
