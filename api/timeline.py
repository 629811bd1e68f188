"""A notification's timeline: everything that happened to it, in one order."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from api.models import TimelineEntry, message_id
from domain.notification import LANES
from storage.queries import Row, Timeline

_ATTEMPT: Final = (
    *("pass_number", "provider", "device_id", "target_masked", "selection", "outcome", "code"),
    *("http_status", "provider_message_id", "resolved_by", "latency_ms"),
    *("segments", "encoding", "cost", "currency"),
)


def entries(timeline: Timeline, *, clear: bool) -> list[TimelineEntry]:
    """Return acceptance, decisions, attempts, receipts and the end by time; equal times keep this order.

    `clear`: whether ids that contain an address are shown.
    """
    found = [
        _accepted(timeline.notification),
        *(_entry(row["at"], row["kind"], row, row["data"]) for row in timeline.events),
        *(_plan(row) for row in timeline.attempts if row["number"] == 1),
        *(entry for row in timeline.attempts for entry in _attempt(row, clear=clear)),
        *(_receipt(row) for row in timeline.receipts),
    ]
    found.sort(key=lambda entry: entry.at)
    end = _end(timeline.notification)
    return [*found, end] if end else found


def _accepted(row: Row) -> TimelineEntry:
    data = {
        "type": row["type"],
        "lane": LANES[row["lane"]],
        "strategy": row["strategy"],
        "channels": [delivery["channel"] for delivery in row["deliveries"] or ()],
        "send_at": _text(row["send_at"]),
        "expires_at": _text(row["expires_at"]),
    }
    return _entry(row["accepted_at"], "accepted", {}, data)


def _plan(row: Row) -> TimelineEntry:
    """Return what was decided for a channel before its first attempt. A channel without an attempt has an
    event with the reason instead.
    """
    chosen = row["selection"]
    data = {name: chosen.get(name) for name in ("preferences", "limit", "route", "route_of", "skipped")}
    return _entry(row["intended_at"], "plan", row, {"action": "send", **data})


def _attempt(row: Row, *, clear: bool) -> Iterator[TimelineEntry]:
    data = {"number": row["number"]} | {name: row[name] for name in _ATTEMPT}
    data["provider_message_id"] = message_id(row, clear=clear)
    yield _entry(row["intended_at"], "attempt", row, data)
    of = {"number": row["number"], "provider": row["provider"]}
    if row["closed_at"] and row["resolved_by"] != "response":
        data = {**of, "outcome": row["outcome"], "code": row["code"], "resolved_by": row["resolved_by"]}
        yield _entry(row["closed_at"], "attempt_resolved", row, data)
    if row["late_at"]:
        yield _entry(row["late_at"], "late_outcome", row, {**of, "outcome": row["late_outcome"]})


def _receipt(row: Row) -> TimelineEntry:
    names = ("provider", "status", "code", "permanent", "source")
    data = {"number": row["number"]} | {name: row[name] for name in names}
    data["occurred_at"] = _text(row["occurred_at"])
    return _entry(row["received_at"], "receipt", row, data)


def _end(row: Row) -> TimelineEntry | None:
    if row["final_at"] is None:
        return None
    return _entry(row["final_at"], "final", {}, {"status": row["status"], "reason_code": row["reason_code"]})


def _entry(at: datetime, kind: str, row: Row, data: dict[str, Any]) -> TimelineEntry:
    return TimelineEntry(at=at, kind=kind, channel=row.get("channel"), data=data)


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
