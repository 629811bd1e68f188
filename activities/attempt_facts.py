"""What is written down of an attempt, worked out. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from activities.links import Links
from domain.decisions import Rules
from domain.ids import attempt_ref, match_key
from domain.notification import Channel, Delivery, Notification
from domain.notification_types import NotificationType, Prices
from domain.outcome import Outcome
from domain.routing import Candidate, Route
from domain.segments import segments
from providers.base import Message, Provider


def contradicts(outcome: Outcome, resolved: str | None) -> bool:
    """Whether a late outcome says that a message went out which the ledger does not count as sent.

    `resolved` is how the attempt had been closed, None if it had not.
    """
    if outcome is Outcome.ACCEPTED:
        return resolved not in (None, Outcome.ACCEPTED)
    return outcome is Outcome.AMBIGUOUS and resolved == Outcome.NOT_SENT


def settling_s(provider: Provider, configured_s: float | None) -> float:
    """How long after a call "not found" is not yet "not sent", in seconds."""
    return provider.capabilities.settling_s if configured_s is None else configured_s


def match_key_of(secret: str, notification: Notification, delivery: Delivery, candidate: Candidate) -> str:
    """What two messages have in common that a provider without a reference of ours cannot tell apart."""
    text = f"{notification.content.title or ''}\n{notification.content.body}"
    return match_key(secret, f"{candidate.provider}:{delivery.channel}", candidate.target.address, text)


def message_of(
    notification: Notification,
    delivery: Delivery,
    candidate: Candidate,
    no: int,
    intended_at: datetime,
    links: Links,
    type: NotificationType,
) -> Message:
    """Attempt `no` as its adapter is given it: every time the same, whatever the time."""
    ref = attempt_ref(delivery.id, no)
    return Message(
        attempt_ref=ref,
        target=candidate.target,
        content=notification.content,
        type=notification.type,
        expires_at=delivery.expires_at,
        intended_at=intended_at,
        callback_url=links.callback(candidate.provider, ref),
        unsubscribe_url=links.unsubscribe(delivery.id, delivery.channel, type),
        lane=notification.lane,
    )


def selection(
    notification: Notification,
    delivery: Delivery,
    candidate: Candidate,
    route: Route,
    skipped: Mapping[str, str],
    rules: Rules,
    prices: Prices | None,
) -> dict[str, Any]:
    """Why this provider is asked, for the timeline: what the preferences and limits said, and the route.
    An SMS also has its size and what it should cost.
    """
    chosen: dict[str, Any] = {
        "pass": delivery.pass_no + 1,
        "why": "next in the fallback order" if skipped else "first in the fallback order",
        "skipped": dict(skipped),
        "route": list(route.order),
        "route_of": route.of,
        "preferences": "required" if rules.type.required else "allowed",
        "limit": "reserved" if rules.type.limits_on(delivery.channel) else "none",
    }
    if delivery.channel is Channel.SMS:
        chosen["sms"] = sized(notification.content.body, candidate.target.address, prices)
    return chosen


def sized(text: str, number: str, prices: Prices | None) -> dict[str, object]:
    """How many segments an SMS takes, in which encoding, and what they should cost if that is known.

    Costs are decimal texts: no digit of money passes through a float.
    """
    found = segments(text)
    size: dict[str, object] = {"segments": found.count, "encoding": found.encoding}
    price = prices.of(number) if prices else None
    if prices is None or price is None:
        return size
    return size | {"cost": f"{price * found.count:f}", "currency": prices.currency}


def waiting(delivery: Delivery) -> str:
    """What a delivery waits for, in one line for the Web UI."""
    return f"pass {delivery.pass_no + 1} not before {delivery.next_pass_at:%H:%M:%S} ({delivery.reason_code})"
