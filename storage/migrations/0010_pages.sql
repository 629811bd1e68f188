-- Pages claim what needs no workflow of its own, the dispatcher the rest, each in the order of its time.
CREATE INDEX due_in_order ON due (lane, solo, due_at);
DROP INDEX due_next;
