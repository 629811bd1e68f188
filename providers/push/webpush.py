"""Web Push: RFC 8030 (the request), RFC 8291 (its encryption) and RFC 8292 (VAPID, our identity).

The address of a device is a browser's subscription: each message goes to the subscription's own push
service, and this provider covers several of them. None has an idempotency key or a look-up. Instead all
attempts of a delivery have one `Topic`, by which a push service replaces a waiting copy, and one `tag`, by
which a browser replaces a shown one.
"""

import hashlib
import json
import re
from typing import ClassVar

import http_ece
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from domain import web_push
from domain.notification import Device, Lane
from domain.outcome import Outcome, SendResult
from domain.web_push import InvalidSubscription, Subscription
from providers.base import CodeMeaning, Message
from providers.code_meanings import (
    AMBIGUOUS,
    BAD_RECIPIENT,
    DEAD_TOKEN,
    NOT_THIS_MESSAGE,
    REJECTED,
    UNAVAILABLE,
)
from providers.http import Answer, RequestFailed, by_status, refused
from providers.installation import Installation
from providers.push.payload import BYTES_MAX, too_large
from providers.push.replacement import replacement_id
from providers.push.send_only import SendOnly
from providers.push.signing_key import read_key
from providers.push.vapid import VapidTokens
from providers.settings import WebpushSettings

OVERHEAD_BYTES = 86 + 1 + 16
"""The header of aes128gcm with salt and our key, the delimiter, the tag of AES-GCM (RFC 8291, section 4)."""
PAYLOAD_BYTES_MAX = BYTES_MAX - OVERHEAD_BYTES
TTL_S_MAX = 28 * 86_400
"""FCM's maximum; the others keep a message as long, or shorten it themselves."""

_REASON = re.compile(r"[A-Za-z]{1,64}")
_OTHER_KEY_TEXT = b"do not correspond to the credentials used to create the subscription"
# One push service, or one subscription: it says nothing about the other push services.
_THROTTLED_THERE = CodeMeaning(Outcome.THROTTLED, about_provider=False)

URGENCY: dict[Lane, str] = {
    Lane.CRITICAL: "high",
    Lane.HIGH: "high",
    Lane.NORMAL: "normal",
    Lane.BULK: "low",
}
"""RFC 8030, 5.3: whether the message may wake a device that saves power."""

BY_ERRNO: dict[int, CodeMeaning] = {
    102: DEAD_TOKEN,  # Invalid URL endpoint
    103: DEAD_TOKEN,  # Expired URL endpoint
    104: NOT_THIS_MESSAGE,
    105: DEAD_TOKEN,  # Endpoint became unavailable during request
    106: DEAD_TOKEN,  # Invalid subscription
    108: BAD_RECIPIENT,  # Router type is invalid: a corrupted endpoint
    109: REJECTED,  # Invalid authentication
    # Between Mozilla and the phone's own push service: the first three did not get there.
    900: UNAVAILABLE,
    901: UNAVAILABLE,
    902: UNAVAILABLE,
    903: AMBIGUOUS,
}
"""Mozilla's `errno` (autopush, "Error Codes") where it says more than the HTTP status."""

BY_REASON: dict[str, CodeMeaning] = {
    # The page subscribed with another key. Only the browser can fix that; the subscription is alive.
    "VapidPkHashMismatch": BAD_RECIPIENT,
    "BadJwtToken": REJECTED,
}
"""Apple's `reason` where it says more than the HTTP status."""

BY_STATUS: dict[int, CodeMeaning] = {
    404: DEAD_TOKEN,
    410: DEAD_TOKEN,
    413: NOT_THIS_MESSAGE,
    429: _THROTTLED_THERE,
    # Windows: the throttle limit is exceeded.
    406: _THROTTLED_THERE,
}
"""Statuses with a special meaning in RFC 8030 and the push services."""


class WebPush(SendOnly):
    """Web Push, to the configured push services only. Raises ValueError when the key file cannot be used."""

    name: ClassVar[str] = "webpush"
    vendor = "Web Push"

    def __init__(self, settings: WebpushSettings, installation: Installation) -> None:
        self._tokens = VapidTokens(read_key(settings.key_file), subject=settings.subject)
        self._hosts = tuple(settings.hosts)
        self._gateway = settings.base_url.rstrip("/") if settings.base_url else None
        self._client = installation.client(self.name, settings.base_url or "")

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Encrypt for one browser and send to its push service."""
        try:
            subscription = web_push.read(message.target.address)
        except InvalidSubscription:
            return SendResult(Outcome.REJECTED_RECIPIENT, code="invalid_subscription", asked=False)
        if not web_push.is_push_service(subscription.endpoint, self._hosts):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="endpoint_not_allowed", asked=False)
        payload = build_payload(message)
        if refused_here := too_large(len(payload), PAYLOAD_BYTES_MAX):
            return refused_here
        answer = await self._client.request(
            "POST",
            self._url(subscription),
            timeout_s=timeout_s,
            headers=self._headers(message, subscription),
            content=encrypted(payload, subscription),
        )
        return (
            answer.result if isinstance(answer, RequestFailed) else parse_result(answer, message.attempt_ref)
        )

    def _url(self, subscription: Subscription) -> str:
        if self._gateway is None:
            return subscription.endpoint
        return f"{self._gateway}/{subscription.host}{subscription.path}"

    def _headers(self, message: Message, subscription: Subscription) -> dict[str, str]:
        ttl_s = (message.expires_at - message.intended_at).total_seconds()
        return {
            "Authorization": self._tokens.header(f"https://{subscription.host}"),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(int(min(max(ttl_s, 0), TTL_S_MAX))),
            "Topic": topic(message),
            "Urgency": URGENCY[message.lane],
        }

    def address_of(self, device: Device) -> str | None:
        return device.webpush

    async def aclose(self) -> None:
        await self._client.aclose()


def topic(message: Message) -> str:
    """The `Topic` of all attempts of one delivery: at most 32 letters and digits, as Mozilla requires."""
    return re.sub("[^A-Za-z0-9]", "", replacement_id(message.attempt_ref))[:32]


def build_payload(message: Message) -> bytes:
    """The plain payload, as compact JSON: what the page's service worker receives."""
    payload = {
        "title": message.content.title,
        "body": message.content.body,
        "tag": replacement_id(message.attempt_ref),
        "herald_ref": message.attempt_ref,
    }
    shown = {name: text for name, text in payload.items() if text is not None}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def encrypted(payload: bytes, subscription: Subscription) -> bytes:
    """The payload encrypted for this browser: aes128gcm, with a new key for each message (RFC 8291)."""
    return http_ece.encrypt(
        payload,
        private_key=generate_private_key(SECP256R1()),
        dh=web_push.from_base64url(subscription.p256dh),
        auth_secret=web_push.from_base64url(subscription.auth),
        version="aes128gcm",
    )


def parse_result(answer: Answer, sent_ref: str) -> SendResult:
    """The result of a send."""
    if answer.status in (201, 202):
        return SendResult(
            Outcome.ACCEPTED, http_status=answer.status, provider_message_id=message_id(answer, sent_ref)
        )
    if answer.status < 300:
        # A push service answers 201 (RFC 8030, 5): an intermediary may have answered.
        return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=answer.status)
    errno, reason = answer.fields.get("errno"), answer.fields.get("reason")
    if isinstance(errno, int):
        meaning = BY_ERRNO.get(errno) or _of_status(answer.status, vendor_form=True)
        return refused(answer, meaning, f"errno_{errno}")
    if isinstance(reason, str) and _REASON.fullmatch(reason):
        meaning = BY_REASON.get(reason) or _of_status(answer.status, vendor_form=True)
        return refused(answer, meaning, reason)
    if answer.status in (400, 403) and _OTHER_KEY_TEXT in answer.body:
        return refused(answer, BAD_RECIPIENT, "subscribed_with_another_key")
    return refused(answer, _of_status(answer.status, vendor_form=False))


def message_id(answer: Answer, sent_ref: str) -> str:
    """The id of the accepted message: a digest of its URL, because anyone with the URL could delete it.

    Not every push service returns one; our own reference is used instead.
    """
    location = answer.headers.get("location")
    return hashlib.sha256(location.encode()).hexdigest()[:32] if location else sent_ref


def _of_status(status: int, *, vendor_form: bool) -> CodeMeaning:
    return BY_STATUS.get(status) or by_status(status, vendor_form=vendor_form)
