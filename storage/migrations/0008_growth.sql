-- What keeps the cost of a notification the same however many there were before.

-- Callbacks that fitted no attempt: few among many, looked for in every round of the reconciliation.
CREATE INDEX receipt_inbox_orphans ON receipt_inbox (orphaned_at) WHERE orphaned_at IS NOT NULL;

-- Written in time's order, so that each new entry goes to the last page; the oldest are removed by it.
CREATE INDEX provider_messages_oldest ON provider_messages (accepted_at);

-- By default a table is vacuumed once a fifth of it is dead: of ten million rows, two million. The dead
-- versions are those of the newest rows, so that their pages would not be used again for days.
ALTER TABLE notifications SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE provider_messages SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE receipt_inbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
