-- What is not over yet, however old: what the reconciliation and the retention look at. Its condition
-- also catches a row that was called final while its status says otherwise.
CREATE INDEX notifications_live ON notifications (accepted_at)
    WHERE final_at IS NULL OR status >= 'outcome_unknown';
