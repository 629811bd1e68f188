"""Find deliveries that make no progress, with the reason and since when."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from rich.table import Table

from console.client import Api, Json
from console.terminal import ago, coloured, parse_time, row, table
from domain.reasons import Reason
from domain.status import ACTIVE, PARKED, SENDABLE, Status

OVERDUE: Final = timedelta(minutes=1)
"""A worker should have claimed a notification this long after it is due, even behind a spike's backlog."""
SENDING: Final = timedelta(minutes=2)
"""The longest that a provider call and its look-up should take."""
_WAITING_FOR_RECOVERY: Final = (Reason.RETRY, Reason.PROVIDER_DOWN, Reason.LIMIT_STORE_LOST)
"""Reasons to be deferred that a failure causes. A delivery deferred for any other reason waits as planned."""


@dataclass(frozen=True, slots=True)
class StuckDelivery:
    """A delivery that needs attention. `since`: when it got stuck, or when it should have moved on."""

    notification_id: str
    type: str
    channel: str
    status: str
    reason: str
    since: datetime
    provider: str | None
    next_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "id": self.notification_id,
            "type": self.type,
            "channel": self.channel,
            "status": self.status,
            "reason": self.reason,
            "since": self.since.isoformat(),
            "provider": self.provider,
            "next_pass_at": self.next_at.isoformat() if self.next_at else None,
        }


def find_stuck(api: Api, limit: int, now: datetime) -> tuple[list[StuckDelivery], bool]:
    """Stuck deliveries, oldest first; and whether some status has more than `limit`. Raises CommandError."""
    parked, more = api.list_all("/dead-letters", "notifications", limit)
    notifications = {item["id"]: item for item in parked}
    for status in sorted(ACTIVE):
        found, truncated = api.list_all("/notifications", "notifications", limit, status=status)
        notifications |= {item["id"]: item for item in found}
        more = more or truncated
    parked_at = {item["id"]: _parked_at(api, item) for item in parked}
    sending = [item for item in notifications.values() if _may_send_too_long(item, now)]
    sending_since = {item["id"]: _sending_since(api, item) for item in sending}
    stuck = [
        delivery
        for item in notifications.values()
        for delivery in _stuck_deliveries(item, parked_at.get(item["id"]), sending_since.get(item["id"]), now)
    ]
    return sorted(stuck, key=lambda delivery: delivery.since), more


def stuck_table(stuck: list[StuckDelivery], now: datetime) -> Table:
    """A table of stuck deliveries, one per row."""
    made = table("id", "type", "channel", "status", "since", "provider", "next pass", "why")
    for delivery in stuck:
        next_at = ago(delivery.next_at, now) if delivery.next_at else None
        cells = (delivery.notification_id, delivery.type, delivery.channel, coloured(delivery.status))
        row(made, (*cells, ago(delivery.since, now), delivery.provider, next_at, delivery.reason))
    return made


def _parked_at(api: Api, notification: Json) -> datetime:
    """When the notification was last parked, by its timeline."""
    timeline = api.get(f"/notifications/{quote(notification['id'])}/timeline")
    times = [entry["at"] for entry in timeline["entries"] if entry["kind"] in PARKED]
    return parse_time(times[-1] if times else notification["created_at"])


def _may_send_too_long(notification: Json, now: datetime) -> bool:
    """Whether it is old enough for a call that should have ended, and a delivery is sending."""
    return now > parse_time(notification["created_at"]) + SENDING and any(
        delivery["status"] == Status.SENDING for delivery in notification["deliveries"]
    )


def _sending_since(api: Api, notification: Json) -> datetime | None:
    """The intent of its oldest open attempt; None if it has none any more."""
    attempts = api.get(f"/notifications/{quote(notification['id'])}/attempts")["attempts"]
    return min((parse_time(one["intended_at"]) for one in attempts if one["outcome"] is None), default=None)


def _stuck_deliveries(
    notification: Json, parked_at: datetime | None, sending_since: datetime | None, now: datetime
) -> Iterator[StuckDelivery]:
    for delivery in notification["deliveries"]:
        found = _why_stuck(notification, delivery, parked_at, sending_since, now)
        if found is None:
            continue
        why, since = found
        next_at = delivery["next_pass_at"]
        yield StuckDelivery(
            notification["id"],
            notification["type"],
            delivery["channel"],
            delivery["status"],
            why,
            since,
            delivery["provider"],
            parse_time(next_at) if next_at else None,
        )


def _why_stuck(
    notification: Json,
    delivery: Json,
    parked_at: datetime | None,
    sending_since: datetime | None,
    now: datetime,
) -> tuple[str, datetime] | None:
    """Why a delivery is stuck, and since when; None if it is not stuck."""
    status, reason = delivery["status"], delivery["reason_code"]
    created = parse_time(notification["created_at"])
    if status in PARKED:
        return reason or status, parked_at or created
    if status not in ACTIVE:
        return None
    expires = parse_time(delivery["expires_at"])
    if now > expires + OVERDUE:
        return "overdue: it should have expired", expires
    if status not in SENDABLE:
        if sending_since is None or now <= sending_since + SENDING:
            return None
        return "no outcome yet: being looked up at the provider", sending_since
    next_at = parse_time(delivery["next_pass_at"])
    if now > next_at + OVERDUE:
        return "overdue: no worker has claimed it", next_at
    if reason in _WAITING_FOR_RECOVERY:
        return reason, created
    return None
