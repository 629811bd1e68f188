-- The first statement of every ledger write: its notifications, locked in id order. Whoever changes a
-- delivery, an attempt or a due entry holds this lock, so that writers of one notification take turns.
SELECT id, strategy FROM notifications WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
