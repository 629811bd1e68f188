-- Create the monthly partitions of every partitioned table, from last month to `months_ahead` months ahead.
-- Called by migrations and by the reconciliation; safe to call at any time, also concurrently.
CREATE FUNCTION ensure_partitions_v1(months_ahead integer) RETURNS void LANGUAGE plpgsql SET timezone TO 'UTC' AS $$
DECLARE
    parent text;
    month  timestamptz;
    child  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('herald/partitions'));
    FOREACH parent IN ARRAY ARRAY['notification_contents', 'notification_attempts', 'receipts', 'timeline'] LOOP
        FOR step IN -1 .. months_ahead LOOP
            month := date_trunc('month', now()) + make_interval(months => step);
            child := parent || to_char(month, '_YYYY_MM');
            IF to_regclass(child) IS NULL THEN
                -- Created apart and attached, which blocks other schema changes only: CREATE TABLE …
                -- PARTITION OF would wait for every transaction on the table, and block all later ones.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               parent, child, month, month + interval '1 month');
            END IF;
        END LOOP;
    END LOOP;
END $$;
