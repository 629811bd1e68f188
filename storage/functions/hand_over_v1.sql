-- A claim that a batch gives up. `dedicated_workflow`: its notification gets a dedicated workflow.
CREATE TYPE hand_over_v1 AS (
    id                 uuid,
    claim              uuid,
    dedicated_workflow boolean
);
