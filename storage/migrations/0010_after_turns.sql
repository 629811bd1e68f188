-- The order of the queue before tenants took turns.
DROP INDEX IF EXISTS due_in_order;
