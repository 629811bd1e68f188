-- The turns with something due in a lane, for each kind of entry (`dedicated_workflow`). One index look-up finds the next
-- turn and its first due time, so that the cost depends on the number of tenants and not on the size of their backlogs.
-- They begin after `begin_at`, and `place` is their order from there. At most `looks_max` are examined.
CREATE FUNCTION due_turns_v1(of_lane smallint, kinds boolean[], begin_at bigint, looks_max integer)
RETURNS TABLE (dedicated_workflow boolean, turn integer, place integer) LANGUAGE plpgsql ROWS 4 AS $$
DECLARE
    kind     boolean;
    at       bigint;
    after    integer;
    is_due   boolean;
    up_to    bigint;
BEGIN
    FOREACH kind IN ARRAY kinds LOOP
        at := begin_at;
        up_to := 2147483648;
        FOR look IN 1..looks_max LOOP
            SELECT d.turn, d.due_at <= now() INTO after, is_due FROM due d
            WHERE d.lane = of_lane AND d.dedicated_workflow = kind AND d.turn > at AND d.turn <= up_to
            ORDER BY d.turn, d.due_at LIMIT 1;
            IF after IS NULL THEN
                EXIT WHEN up_to = begin_at;
                at := -2147483649;
                up_to := begin_at;
            ELSE
                at := after;
                IF is_due THEN
                    dedicated_workflow := kind;
                    turn := after;
                    place := look;
                    RETURN NEXT;
                END IF;
            END IF;
        END LOOP;
    END LOOP;
END $$;
