"""Render one notification's timeline, and lists of notifications, as tables."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from console.client import Json
from console.terminal import coloured, duration, parse_time, row, short_time, since, table

_OWN_COLUMN = ("provider", "code")


def timeline_view(notification: Json, timeline: Json) -> list[Table | str]:
    """One notification for the terminal: its facts, its timeline, and its next passes."""
    start = parse_time(notification["created_at"])
    reason = timeline["reason_code"]
    head = table("", "")
    head.show_header = False
    facts: dict[str, Text | str] = {
        "notification": notification["id"],
        "status": coloured(timeline["status"]).append(f" ({reason})" if reason else "", style=""),
        "request": f"{notification['type']} for {notification['user_id']}, {notification['lane']}, "
        f"{notification['strategy']} of {', '.join(notification['channels'])}",
        "accepted": notification["created_at"],
        "expires": notification["expires_at"],
        "Web UI": timeline["temporal_ui_url"],
    }
    for name, value in facts.items():
        row(head, (name, value))
    entries = table("when", "event", "channel", "provider", "outcome", "code", "ms", "details")
    for entry in timeline["entries"]:
        row(entries, _cells(entry, start))
    return [head, "", entries, *_next_passes(notification, start)]


def notification_table(notifications: list[Json]) -> Table:
    """A table of notifications, one per row."""
    made = table("id", "created", "user", "type", "status", "reason", "channels")
    for item in notifications:
        channels = ", ".join(
            f"{delivery['channel']}" + (f" by {delivery['provider']}" if delivery["provider"] else "")
            for delivery in item["deliveries"]
        )
        cells = (item["id"], short_time(item["created_at"]), item["user_id"], item["type"])
        row(made, (*cells, coloured(item["status"]), item["reason_code"], channels))
    return made


def _cells(entry: Json, start: datetime) -> tuple[Any, ...]:
    data: Json = entry["data"]
    event: str = entry["kind"]
    provider, code, latency_ms, details = data.get("provider"), data.get("code"), None, ""
    outcome = data.get("outcome") or data.get("status")
    match event:
        case "accepted":
            details = f"expires in {duration((parse_time(data['expires_at']) - start).total_seconds())}"
            if data["send_at"]:
                details = f"scheduled for {since(parse_time(data['send_at']), start)}, {details}"
        case "attempt":
            event = f"attempt {data['number']}"
            outcome = outcome or "open"
            latency_ms = data["latency_ms"]
            details = _selection(data)
        case "attempt_resolved":
            event = f"attempt {data['number']} resolved"
            details = _resolved_by(data)
        case "late_outcome":
            event = f"attempt {data['number']} late"
            details = _resolved_by(data)
        case "receipt":
            details = f"for attempt {data['number']}, by {data['source']}"
        case "final":
            details = data["reason_code"] or ""
        case _:
            shown = {name: value for name, value in data.items() if name not in _OWN_COLUMN}
            details = _one_line(
                shown | ({"at": since(parse_time(data["at"]), start)} if "at" in data else {})
            )
            outcome = None
    if code == outcome:
        code = None
    at = since(parse_time(entry["at"]), start)
    return (at, event, entry["channel"], provider, coloured(outcome), code, latency_ms, details)


def _resolved_by(data: Json) -> str:
    return f"by {data['resolved_by']}" if data.get("resolved_by") else ""


def _selection(data: Json) -> str:
    selection: Json = data["selection"]
    parts = [f"pass {selection['pass']}" if "pass" in selection else "", str(selection.get("why", ""))]
    skipped: Mapping[str, str] = selection.get("skipped") or {}
    parts += [f"skipped {name}: {reason}" for name, reason in skipped.items()]
    if (of := selection.get("route_of", "general")) != "general":
        parts.append("the type's route" if of == "type" else f"route of {of}")
    parts.append(f"to {data['target_masked']}" + (f" ({data['device_id']})" if data["device_id"] else ""))
    if segments := data.get("segments"):
        cost = f", {data['cost']} {data['currency']}" if data.get("cost") else ""
        parts.append(f"{segments} segment{'s' if segments > 1 else ''} ({data['encoding']}){cost}")
    return "; ".join(part for part in parts if part)


def _one_line(data: Json) -> str:
    """An event's data in one line."""
    parts = [
        f"{name} {_one_line(value) if isinstance(value, dict) else value}"
        for name, value in data.items()
        if value not in (None, {}, [])
    ]
    return ", ".join(parts)


def _next_passes(notification: Json, start: datetime) -> list[str]:
    """One line for each delivery that has another pass scheduled."""
    lines = [
        f"{delivery['channel']}: {delivery['status']}, "
        f"next pass {since(parse_time(delivery['next_pass_at']), start)} ({delivery['next_pass_at']})"
        + (f", {delivery['reason_code']}" if delivery["reason_code"] else "")
        for delivery in notification["deliveries"]
        if delivery["next_pass_at"]
    ]
    return ["", *lines] if lines else []
