"""What is written down of an attempt, worked out. Pure."""

from collections.abc import Mapping, Sequence

from domain.decisions import Rules
from domain.ids import match_key
from domain.notification import Delivery, Notification
from domain.outcome import Outcome
from domain.routing import Candidate
from providers.base import Provider


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


def callback_url(public_url: str, provider: str, ref: str) -> str:
    """Where a vendor that takes a callback address per message reports to."""
    return f"{public_url.rstrip('/')}/v1/callbacks/{provider}?ref={ref}"


def selection(
    delivery: Delivery, route: Sequence[str], skipped: Mapping[str, str], rules: Rules
) -> dict[str, object]:
    """Why this provider is asked, for the timeline: what the preferences and limits said, and the route."""
    limited = any(limit.channel == delivery.channel for limit in rules.type.limits)
    return {
        "pass": delivery.pass_no + 1,
        "why": "next in the fallback order" if skipped else "first in the fallback order",
        "skipped": dict(skipped),
        "route": list(route),
        "preferences": "required" if rules.type.required else "allowed",
        "limit": "reserved" if limited else "none",
    }


def waiting(delivery: Delivery) -> str:
    """What a delivery waits for, in one line for the Web UI."""
    return f"pass {delivery.pass_no + 1} not before {delivery.next_pass_at:%H:%M:%S} ({delivery.reason_code})"
