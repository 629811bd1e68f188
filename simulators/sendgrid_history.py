"""What SendGrid's Email Logs and Email Activity say about a message."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from simulators.base import Received

LOG_FIELDS = frozenset({"to_email", "subject", "sg_message_id", "sg_message_id_created_at"})
"""The fields of an Email Logs query that are simulated."""

LOG_STATUS: Mapping[str, str] = {
    "processed": "processed",
    "deferred": "deferred",
    "dropped": "dropped",
    "bounce": "bounced",
    "blocked": "blocked",
}
ACTIVITY_EVENT: Mapping[str, tuple[str, str]] = {
    # event webhook → (event_name, bounce_type)
    "bounce": ("bounced", "hard"),
    "blocked": ("bounced", "soft"),
    "spamreport": ("spam_report", "soft"),
    "open": ("opened", "soft"),
    "click": ("clicked", "soft"),
}

ACTIVITY_DETAIL: Mapping[str, Any] = {
    "api_key_id": "simulated",
    "asm_group_id": 1,
    "categories": [],
    "originating_ip": "127.0.0.1",
    "outbound_ip": "127.0.0.1",
    "outbound_ip_type": "shared",
    "teammate": "",
    "template_id": "",
    "unique_args": "{}",
}
"""What Email Activity adds for a single message: every field is required."""

_CONDITION = re.compile(r'(\w+)\s*(>=|<=|>|<|=)\s*(?:TIMESTAMP\s+)?"([^"]*)"')


def summary_of(message: Received) -> dict[str, Any]:
    """A message in the list of Email Logs."""
    return {
        "from_email": "notices@herald.example",
        "sg_message_id": message.vendor["sg_message_id"],
        "subject": message.title,
        "to_email": message.to,
        "status": LOG_STATUS.get(message.status, "delivered"),
        "sg_message_id_created_at": message.received_at.isoformat(),
    }


def activity_of(message: Received) -> dict[str, Any]:
    """A message in the list of Email Activity."""
    status = LOG_STATUS.get(message.status, "delivered")
    return {
        "from_email": "notices@herald.example",
        "msg_id": message.vendor["sg_message_id"],
        "subject": message.title,
        "to_email": message.to,
        "status": status if status in ("processed", "delivered") else "not_delivered",
        "opens_count": 0,
        "clicks_count": 0,
        "last_event_time": datetime.now(UTC).isoformat(),
    }


def activity_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of the webhook, as Email Activity names it."""
    word = str(event.get("type") or event["event"])
    name, bounce_type = ACTIVITY_EVENT.get(word, (word, "soft"))
    return {
        "event_name": name,
        "processed": datetime.fromtimestamp(event["timestamp"], UTC).isoformat(),
        # Required for every event.
        "bounce_type": bounce_type,
        "http_user_agent": "",
        "mx_server": "mx.customers.example",
    }


def conditions_of(query: str) -> list[tuple[str, str, str]]:
    """The conditions of an Email Logs query: field, operator, value."""
    return _CONDITION.findall(query)


def meets(message: Received, name: str, operator: str, value: str) -> bool:
    """Whether a message meets one condition."""
    if name == "sg_message_id_created_at":
        at = datetime.fromisoformat(value)
        return {
            ">=": message.received_at >= at,
            ">": message.received_at > at,
            "<=": message.received_at <= at,
            "<": message.received_at < at,
        }.get(operator, False)
    held = {
        "to_email": message.to,
        "subject": message.title,
        "sg_message_id": message.vendor["sg_message_id"],
    }
    return operator == "=" and held[name] == value
