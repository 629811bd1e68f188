"""The meanings of Mailgun's events: what happened to a mail, from its events API and its webhooks.

Source: the user manual on documentation.mailgun.com (event structure).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from domain.outcome import Receipt, advance
from providers.email.event_meanings import BAD_ADDRESS, DELIVERED, FAILED_HERE, OBJECTED, QUEUED, EventMeaning
from providers.email.fields import event_key_of, reference_in
from providers.http import code_of

EVENTS: Final[Mapping[str, EventMeaning]] = {
    "accepted": QUEUED,
    "rejected": FAILED_HERE,
    "delivered": DELIVERED,
    "opened": DELIVERED,
    "clicked": DELIVERED,
    "unsubscribed": OBJECTED,
    "complained": OBJECTED,
}
"""Mailgun's event types, besides `failed` (`REASONS`). Any other is ignored."""

REASONS: Final[Mapping[str, EventMeaning]] = {
    "bounce": BAD_ADDRESS,
    "hardfail": BAD_ADDRESS,
    "suppress-bounce": BAD_ADDRESS,
    "suppress-complaint": BAD_ADDRESS,
    "suppress-unsubscribe": BAD_ADDRESS,
    "espblock": FAILED_HERE,
    "generic": FAILED_HERE,
    "greylisted": FAILED_HERE,
    "old": FAILED_HERE,
}
"""Why a mail failed permanently. Any other reason is not stored, and says nothing about the address."""

_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,512}")


def bare_id(vendor_id: object) -> str | None:
    """A message id as events carry it: without angle brackets."""
    id = vendor_id.strip().strip("<>") if isinstance(vendor_id, str) else ""
    return id if _MESSAGE_ID.fullmatch(id) else None


def message_id_of(event: Mapping[str, Any]) -> str | None:
    """The id of the message that an event is about."""
    message = event.get("message")
    headers = message.get("headers") if isinstance(message, dict) else None
    return bare_id(headers.get("message-id")) if isinstance(headers, dict) else None


def carries(event: Mapping[str, Any], ref: str) -> bool:
    """Whether an event carries our reference."""
    tags = event.get("tags")
    return reference_in(event.get("user-variables")) == ref or (isinstance(tags, list) and ref in tags)


def latest(events: Iterable[Mapping[str, Any]]) -> Receipt | None:
    """The event that says most about a message, as a receipt; the first one of equals."""
    best: Receipt | None = None
    for event in events:
        receipt = parse_receipt(event)
        if receipt and (best is None or advance(best.status, receipt.status) is not best.status):
            best = receipt
    return best


def parse_receipt(event: Mapping[str, Any]) -> Receipt | None:
    """One event as a receipt; None when it says nothing about a message of ours."""
    name = str(event.get("event"))
    means, code = _failure(event) if name == "failed" else (EVENTS.get(name), name)
    if means is None:
        return None
    message_id = message_id_of(event)
    id, at = event.get("id"), event.get("timestamp")
    at_s = at if isinstance(at, int | float) and 0 < at < 1 << 33 else None
    return Receipt(
        event_key=event_key_of(id) if id else event_key_of(message_id, code, at),
        status=means.status,
        provider_message_id=message_id,
        attempt_ref=reference_in(event.get("user-variables")),
        code=code_of(code),
        permanent=means.permanent,
        address_verdict=means.address,
        occurred_at=None if at_s is None else datetime.fromtimestamp(at_s, UTC),
    )


def _failure(event: Mapping[str, Any]) -> tuple[EventMeaning, str]:
    severity = "permanent" if event.get("severity") == "permanent" else "temporary"
    reason = str(event.get("reason"))
    status = event.get("delivery-status")
    bounce_type = status.get("bounce-type") if isinstance(status, dict) else None
    code = f"failed:{severity}" + (f":{reason}" if reason in REASONS else "")
    if severity == "temporary":
        # Mailgun keeps trying by itself, for up to eight hours.
        return QUEUED, code
    if bounce_type == "soft":
        return FAILED_HERE, code
    return REASONS.get(reason, FAILED_HERE), code
