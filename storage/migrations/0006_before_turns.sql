-- Tenants take turns in the queue: `turn` is the CRC-32 of the tenant, less 2^31 (domain/fairness.py). Entries without one,
-- which processes of the previous release add, take turns as if they were one tenant's.

ALTER TABLE due ADD COLUMN turn integer NOT NULL DEFAULT 0;

CREATE INDEX due_by_turn ON due (lane, dedicated_workflow, turn, due_at);
