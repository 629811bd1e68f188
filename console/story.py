"""One notification's timeline, and lists of notifications, as tables."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from console.client import Json
from console.terminal import coloured, parsed, row, short, since, span, table

_OWN_COLUMN = ("provider", "code")


def told(notification: Json, timeline: Json) -> list[Table | str]:
    """The story of one notification: what it is, what happened, what comes next, where to look on."""
    start = parsed(notification["created_at"])
    reason = timeline["reason_code"]
    head = table("", "")
    head.show_header = False
    facts: dict[str, Text | str] = {
        "notification": notification["id"],
        "status": coloured(timeline["status"]).append(f" ({reason})" if reason else "", style=""),
        "what": f"{notification['type']} for {notification['user_id']}, {notification['lane']}, "
        f"{notification['strategy']} of {', '.join(notification['channels'])}",
        "accepted": notification["created_at"],
        "expires": notification["expires_at"],
        "Web UI": timeline["temporal_ui_url"],
    }
    for name, value in facts.items():
        row(head, (name, value))
    steps = table("when", "what", "channel", "provider", "outcome", "code", "ms", "why")
    for entry in timeline["entries"]:
        row(steps, _step(entry, start))
    return [head, "", steps, *_next(notification, start)]


def listed(notifications: list[Json]) -> Table:
    """Notifications, a line each."""
    made = table("id", "created", "user", "type", "status", "reason", "channels")
    for item in notifications:
        channels = ", ".join(
            f"{delivery['channel']}" + (f" by {delivery['provider']}" if delivery["provider"] else "")
            for delivery in item["deliveries"]
        )
        cells = (item["id"], short(item["created_at"]), item["user_id"], item["type"])
        row(made, (*cells, coloured(item["status"]), item["reason_code"], channels))
    return made


def _step(entry: Json, start: datetime) -> tuple[Any, ...]:
    data: Json = entry["data"]
    what: str = entry["kind"]
    provider, code, latency_ms, why = data.get("provider"), data.get("code"), None, ""
    outcome = data.get("outcome") or data.get("status")
    match what:
        case "accepted":
            why = f"expires in {span((parsed(data['expires_at']) - start).total_seconds())}"
            if data["send_at"]:
                why = f"to be sent {since(parsed(data['send_at']), start)}, {why}"
        case "attempt":
            what = f"attempt {data['number']}"
            outcome = outcome or "open"
            latency_ms = data["latency_ms"]
            why = _selection(data)
        case "attempt_resolved" | "late_outcome":
            what = f"{'resolved' if what == 'attempt_resolved' else 'came late'}: {data['number']}"
            why = f"by {data['resolved_by']}" if data.get("resolved_by") else ""
        case "receipt":
            why = f"for attempt {data['number']}, by {data['source']}"
        case "final":
            why = data["reason_code"] or ""
        case _:
            shown = {name: value for name, value in data.items() if name not in _OWN_COLUMN}
            why = _plain(shown | ({"at": since(parsed(data["at"]), start)} if "at" in data else {}))
            outcome = None
    if code == outcome:
        code = None
    at = since(parsed(entry["at"]), start)
    return (at, what, entry["channel"], provider, coloured(outcome), code, latency_ms, why)


def _selection(data: Json) -> str:
    selection: Json = data["selection"]
    parts = [f"pass {selection['pass']}" if "pass" in selection else "", str(selection.get("why", ""))]
    skipped: Mapping[str, str] = selection.get("skipped") or {}
    parts += [f"not {name}: {reason}" for name, reason in skipped.items()]
    if (of := selection.get("route_of", "general")) != "general":
        parts.append("the type's route" if of == "type" else f"route of {of}")
    parts.append(f"to {data['target_masked']}" + (f" ({data['device_id']})" if data["device_id"] else ""))
    if segments := data.get("segments"):
        cost = f", {data['cost']} {data['currency']}" if data.get("cost") else ""
        parts.append(f"{segments} segment{'s' if segments > 1 else ''} ({data['encoding']}){cost}")
    return "; ".join(part for part in parts if part)


def _plain(data: Json) -> str:
    """A decision's data in one line."""
    parts = [
        f"{name} {_plain(value) if isinstance(value, dict) else value}"
        for name, value in data.items()
        if value not in (None, {}, [])
    ]
    return ", ".join(parts)


def _next(notification: Json, start: datetime) -> list[str]:
    """What is still to come, for each delivery that has something."""
    lines = [
        f"{delivery['channel']}: {delivery['status']}, "
        f"next pass {since(parsed(delivery['next_pass_at']), start)} ({delivery['next_pass_at']})"
        + (f", {delivery['reason_code']}" if delivery["reason_code"] else "")
        for delivery in notification["deliveries"]
        if delivery["next_pass_at"]
    ]
    return ["", *lines] if lines else []
