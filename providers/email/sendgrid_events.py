"""The meanings of SendGrid's events, and the signature of its event webhook.

Sources: the event webhook reference on twilio.com/docs/sendgrid, the OpenAPI files of
twilio/sendgrid-oai (logs, email activity), and the official SDK's EventWebhook for the signature.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from domain.outcome import Receipt, advance
from providers.base import CallbackRefused, CallbackRequest
from providers.email.event_meanings import BAD_ADDRESS, DELIVERED, FAILED_HERE, OBJECTED, QUEUED, EventMeaning
from providers.email.fields import event_key_of, reference_in
from providers.http import code_of

SIGNATURE_AGE_S_MAX: Final = 300

EVENTS: Final[Mapping[str, EventMeaning]] = {
    "processed": QUEUED,
    "deferred": QUEUED,
    "delivered": DELIVERED,
    "dropped": FAILED_HERE,
    "cancel_drop": FAILED_HERE,
    "open": DELIVERED,
    "click": DELIVERED,
    "spamreport": OBJECTED,
    "unsubscribe": OBJECTED,
    "group_unsubscribe": OBJECTED,
}
"""The event webhook's types, besides `bounce` (`BOUNCE_TYPES`). Any other is ignored."""

BOUNCE_TYPES: Final[Mapping[str, EventMeaning]] = {"bounce": BAD_ADDRESS, "blocked": FAILED_HERE}
"""A block: the receiving server refuses this sender, this content, or mail at this time."""

DROP_REASONS: Final[Mapping[str, EventMeaning]] = {
    "bounced address": BAD_ADDRESS,
    "invalid": BAD_ADDRESS,
    "spam reporting address": BAD_ADDRESS,
    "unsubscribed address": BAD_ADDRESS,
}
"""Drops because of the recipient; the others are about our account or our content."""

LOG_STATUSES: Final[Mapping[str, EventMeaning]] = {
    "processed": QUEUED,
    "deferred": QUEUED,
    "delivered": DELIVERED,
    "dropped": FAILED_HERE,
    "blocked": FAILED_HERE,
    "bounced": BAD_ADDRESS,
}
"""The statuses of the Email Logs."""

ACTIVITY_EVENTS: Final[Mapping[str, EventMeaning]] = {
    "processed": QUEUED,
    "deferred": QUEUED,
    "delivered": DELIVERED,
    "dropped": FAILED_HERE,
    "bounced": BAD_ADDRESS,
    "opened": DELIVERED,
    "clicked": DELIVERED,
    "spam_report": OBJECTED,
    "unsubscribe": OBJECTED,
    "group_unsubscribe": OBJECTED,
}
"""Email Activity's names for the same events."""

MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The part of a message id that we keep."""

_ENHANCED_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}|[1-5]\d\d")


def kept_id(vendor_id: object) -> str | None:
    """The part that all forms of a SendGrid message id share."""
    head = vendor_id.strip().partition(".")[0] if isinstance(vendor_id, str) else ""
    return head if MESSAGE_ID.fullmatch(head) else None


def parse_logged_receipt(detail: Mapping[str, Any]) -> Receipt | None:
    """A message of the Email Logs as a receipt."""
    status, message_id = detail.get("status"), detail.get("sg_message_id")
    means = LOG_STATUSES.get(status) if isinstance(status, str) else None
    key = event_key_of("log", kept_id(message_id), status)
    return _receipt(means, key, message_id, code_of(status), detail.get("custom_args"))


def parse_activity_receipt(detail: Mapping[str, Any], provider_message_id: str) -> Receipt | None:
    """The event that says most about a message of Email Activity, as a receipt."""
    best: tuple[str, EventMeaning] | None = None
    events = detail.get("events")
    for event in events if isinstance(events, list) else []:
        name = str(event.get("event_name")) if isinstance(event, dict) else ""
        means = ACTIVITY_EVENTS.get(name)
        if means is not None and name == "bounced" and event.get("bounce_type") != "hard":
            means = FAILED_HERE
        if means is None or (best and advance(best[1].status, means.status) is not means.status):
            continue
        best = (name, means)
    if best is None:
        return None
    return _receipt(
        best[1],
        event_key_of("activity", provider_message_id, best[0]),
        provider_message_id,
        code_of(best[0]),
        None,
    )


def parse_receipt(event: Mapping[str, Any]) -> Receipt | None:
    """One event of the webhook as a receipt; None when it says nothing about a message of ours."""
    name = event.get("event")
    means = EVENTS.get(name) if isinstance(name, str) else None
    code = code_of(name)
    if name == "bounce":
        kind = "blocked" if event.get("type") == "blocked" else "bounce"
        status = str(event.get("status") or "")
        means = BOUNCE_TYPES[kind]
        code = f"{kind}:{status}" if _ENHANCED_STATUS.fullmatch(status) else kind
    if name == "dropped":
        reason = str(event.get("reason") or "").strip().lower()
        if reason in DROP_REASONS:
            means, code = DROP_REASONS[reason], code_of(f"dropped:{reason}")
    message_id = event.get("sg_message_id")
    at = event.get("timestamp")
    event_id = event.get("sg_event_id")
    key = event_key_of(event_id) if event_id else event_key_of(message_id, name, at)
    occurred_s = at if isinstance(at, int) and 0 < at < 1 << 33 else None
    return _receipt(means, key, message_id, code, event, occurred_s)


def _receipt(
    means: EventMeaning | None,
    key: str,
    message_id: object,
    code: str,
    variables: object,
    occurred_s: int | None = None,
) -> Receipt | None:
    if means is None:
        return None
    return Receipt(
        event_key=key,
        status=means.status,
        provider_message_id=kept_id(message_id),
        attempt_ref=reference_in(variables),
        code=code,
        permanent=means.permanent,
        address_verdict=means.address,
        occurred_at=None if occurred_s is None else datetime.fromtimestamp(occurred_s, UTC),
    )


def load_public_key(webhook_public_key: str) -> ec.EllipticCurvePublicKey:
    """The verification key of SendGrid's settings page. Raises ValueError for anything else."""
    try:
        key = load_der_public_key(base64.b64decode("".join(webhook_public_key.split()), validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(
            "webhook_public_key is not a base64 DER public key; copy it from SendGrid"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("webhook_public_key is not an elliptic curve key; copy it from SendGrid")
    return key


def verify_signature(keys: Sequence[ec.EllipticCurvePublicKey], request: CallbackRequest) -> None:
    """Raises CallbackRefused unless SendGrid signed the callback recently with one of the keys."""
    signature = request.headers.get("x-twilio-email-event-webhook-signature", "")
    timestamp = request.headers.get("x-twilio-email-event-webhook-timestamp", "")
    if not signature or not timestamp:
        raise CallbackRefused("signature_missing", "the event webhook is not signed")
    signed = timestamp.encode() + request.body
    if not any(_signed_with(key, signature, signed) for key in keys):
        raise CallbackRefused("signature_wrong", "the event webhook's signature does not match")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise CallbackRefused("malformed", "the event webhook's timestamp is not a number")
    if abs(request.now.timestamp() - int(timestamp)) > SIGNATURE_AGE_S_MAX:
        raise CallbackRefused("too_old", "the event webhook was signed too long ago, or in the future")


def _signed_with(key: ec.EllipticCurvePublicKey, signature: str, signed: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
