"""The settings that every system shares."""

from collections.abc import Mapping
from typing import Any

VENDOR = "twilio"
"""The one vendor."""
LIMIT_MAX, LIMIT_PER_MS = 1000, 3_600_000
HTTP_TIMEOUT_S = 30.0
RETRIES_MAX = 5
"""Retries of a failed send, by each system's own means, starting after one second."""
IN_FLIGHT = 16
"""How many notifications each system works on at a time, over all its processes."""
PROCESSES = 2
"""Worker processes: one per core of the assumed machine."""
PER_PROCESS = IN_FLIGHT // PROCESSES

SCHEMA = """
CREATE TABLE preferences (
    user_id text NOT NULL, channel text NOT NULL, enabled boolean NOT NULL, PRIMARY KEY (user_id, channel)
);
CREATE TABLE attempts (
    notification_id     text NOT NULL,
    number              integer NOT NULL,
    provider            text NOT NULL,
    intended_at         timestamptz NOT NULL DEFAULT now(),
    outcome             text,
    provider_message_id text,
    closed_at           timestamptz,
    receipt_status      text,
    receipt_at          timestamptz,
    PRIMARY KEY (notification_id, number)
) WITH (fillfactor = 85);
INSERT INTO preferences SELECT 'user-' || n, 'sms', true FROM generate_series(0, 9999) n;
"""

Notification = Mapping[str, Any]
"""`id`, `user_id`, `to` (a phone number) and `text`: JSON, so that every system can carry it."""
