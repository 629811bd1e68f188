"""Which notifications do not move by themselves, why, and since when."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from rich.table import Table

from console.client import Api, Json
from console.terminal import ago, coloured, parsed, row, table
from domain.reasons import Reason
from domain.status import ACTIVE, PARKED, SENDABLE

OVERDUE: Final = timedelta(minutes=1)
"""So long after its time a notification should have been claimed, even behind a backlog of a spike."""
SENDING: Final = timedelta(minutes=2)
"""So long a call and the look-up behind it may take before somebody should look."""
_TROUBLED: Final = (Reason.RETRY, Reason.PROVIDER_DOWN, Reason.LIMIT_STORE_LOST)
"""Deferred for one of these, it waits for something to heal; for another one, it waits as it should."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A delivery that needs attention. `since`: when it came to this, or when it should have moved."""

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


def find(api: Api, limit: int, now: datetime) -> tuple[list[Stuck], bool]:
    """What is stuck, oldest first; and whether some status has more than `limit`. Raises Failure."""
    parked, more = api.pages("/dead-letters", limit)
    notifications = {item["id"]: item for item in parked}
    for status in sorted(ACTIVE):
        found, truncated = api.pages("/notifications", limit, status=status)
        notifications |= {item["id"]: item for item in found}
        more = more or truncated
    parked_at = {item["id"]: _parked_at(api, item) for item in parked}
    stuck = [one for item in notifications.values() for one in _of(item, parked_at.get(item["id"]), now)]
    return sorted(stuck, key=lambda one: one.since), more


def shown(stuck: list[Stuck], now: datetime) -> Table:
    """Stuck deliveries, a line each."""
    made = table("id", "type", "channel", "status", "since", "provider", "next pass", "why")
    for one in stuck:
        next_at = ago(one.next_at, now) if one.next_at else None
        cells = (one.notification_id, one.type, one.channel, coloured(one.status))
        row(made, (*cells, ago(one.since, now), one.provider, next_at, one.reason))
    return made


def _parked_at(api: Api, notification: Json) -> datetime:
    """When it was parked: its timeline says, the latest time counts."""
    timeline = api.get(f"/notifications/{quote(notification['id'])}/timeline")
    times = [entry["at"] for entry in timeline["entries"] if entry["kind"] in PARKED]
    return parsed(times[-1] if times else notification["created_at"])


def _of(notification: Json, parked_at: datetime | None, now: datetime) -> Iterator[Stuck]:
    for delivery in notification["deliveries"]:
        found = _judge(notification, delivery, parked_at, now)
        if found is None:
            continue
        why, since = found
        next_at = delivery["next_pass_at"]
        yield Stuck(
            notification["id"],
            notification["type"],
            delivery["channel"],
            delivery["status"],
            why,
            since,
            delivery["provider"],
            parsed(next_at) if next_at else None,
        )


def _judge(
    notification: Json, delivery: Json, parked_at: datetime | None, now: datetime
) -> tuple[str, datetime] | None:
    """Why a delivery is stuck, and since when; None if it is not."""
    status, reason = delivery["status"], delivery["reason_code"]
    created = parsed(notification["created_at"])
    if status in PARKED:
        return reason or status, parked_at or created
    if status not in ACTIVE:
        return None
    expires = parsed(delivery["expires_at"])
    if now > expires + OVERDUE:
        return "overdue: it should have expired", expires
    if status not in SENDABLE:
        late = now > created + SENDING
        return ("no outcome yet: it is looked up at the provider", created) if late else None
    next_at = parsed(delivery["next_pass_at"])
    if now > next_at + OVERDUE:
        return "overdue: no worker takes it", next_at
    if reason in _TROUBLED:
        return reason, created
    return None
