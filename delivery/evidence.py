"""Computes what is recorded about an attempt. Pure."""

from collections.abc import Mapping
from typing import Any

from domain.notification_types import Prices
from domain.segments import segments
from domain.snapshot import DeliverySnapshot
from domain.transition import Call


def selection(snapshot: DeliverySnapshot, call: Call, size: Mapping[str, object] | None) -> dict[str, Any]:
    """Why this provider is called, for the timeline: preferences, limits and route.

    `size`: of an SMS (sms_size).
    """
    delivery, type, route = snapshot.delivery, snapshot.context.type, snapshot.route
    chosen: dict[str, Any] = {
        "pass": delivery.pass_number + 1,
        "why": "next in the fallback order" if call.skipped else "first in the fallback order",
        "skipped": dict(call.skipped),
        "route": list(route.order),
        "route_of": route.of,
        "preferences": "required" if type.required else "allowed",
        "limit": "reserved" if delivery.channel in snapshot.context.limited else "none",
    }
    return chosen | {"sms": size} if size else chosen


def sms_size(text: str, number: str, prices: Prices | None) -> dict[str, object]:
    """The segments of an SMS, its encoding, and its estimated cost if prices are known.

    Costs are decimal texts, never floats.
    """
    counted = segments(text)
    size: dict[str, object] = {"segments": counted.count, "encoding": counted.encoding}
    price = prices.of(number) if prices else None
    if prices is None or price is None:
        return size
    return size | {"cost": f"{price * counted.count:f}", "currency": prices.currency}
