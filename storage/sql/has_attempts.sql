-- Whether anything was ever tried.
SELECT EXISTS (SELECT FROM notification_attempts)
