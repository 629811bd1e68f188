"""Apple Push Notification service, the HTTP/2 provider API with token authentication.

APNs has no look-up and does not recognise repeated messages. All attempts of a delivery carry one
`apns-collapse-id`, so that a second copy replaces the first on the device. `apns-id` is derived from the
attempt, so that Apple's logs can be searched for it. Headers, limits and reasons are those of
"Sending notification requests to APNs" and "Handling notification responses from APNs".
"""

import asyncio
import json
import re
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from domain.notification import Device
from domain.outcome import Outcome, SendResult
from providers.base import Capabilities, CodeMeaning, Message
from providers.code_meanings import BAD_RECIPIENT, DEAD_TOKEN, NOT_THIS_MESSAGE, REJECTED, UNAVAILABLE
from providers.http import Answer, RequestFailed, by_status, refused
from providers.installation import Installation
from providers.push.h2_client import H2Client
from providers.push.payload import too_large
from providers.push.provider_token import FORCED_EVERY_S, ProviderTokens
from providers.push.replacement import replacement_id
from providers.push.send_only import SendOnly
from providers.push.signing_key import read_key
from providers.settings import ApnsSettings

RETRY_5XX_S = 900.0
"""Apple asks clients to wait 15 minutes after a 5xx before they send again."""

_REASON = re.compile(r"[A-Za-z]{1,64}")
_ID_NAMESPACE = uuid5(NAMESPACE_URL, "herald/apns-id")

BY_REASON: dict[str, CodeMeaning] = {
    # The device token.
    "Unregistered": DEAD_TOKEN,
    "ExpiredToken": DEAD_TOKEN,
    "BadDeviceToken": DEAD_TOKEN,
    # Every token gets this when our topic is wrong: refuse the message, keep the token.
    "DeviceTokenNotForTopic": BAD_RECIPIENT,
    # Our account.
    "ExpiredProviderToken": REJECTED,
    "InvalidProviderToken": REJECTED,
    "MissingProviderToken": REJECTED,
    "UnrelatedKeyIdInToken": REJECTED,
    "BadEnvironmentKeyIdInToken": REJECTED,
    "BadCertificate": REJECTED,
    "BadCertificateEnvironment": REJECTED,
    "Forbidden": REJECTED,
    "BadTopic": REJECTED,
    "MissingTopic": REJECTED,
    "TopicDisallowed": REJECTED,
    # Our request.
    "BadCollapseId": NOT_THIS_MESSAGE,
    "BadExpirationDate": NOT_THIS_MESSAGE,
    "BadMessageId": NOT_THIS_MESSAGE,
    "BadPath": NOT_THIS_MESSAGE,
    "BadPriority": REJECTED,
    "DuplicateHeaders": REJECTED,
    "InvalidPushType": REJECTED,
    "MethodNotAllowed": REJECTED,
    "MissingDeviceToken": NOT_THIS_MESSAGE,
    "PayloadEmpty": NOT_THIS_MESSAGE,
    "PayloadTooLarge": NOT_THIS_MESSAGE,
    # Too many to one device: other devices are not affected.
    "TooManyRequests": CodeMeaning(Outcome.THROTTLED, about_provider=False),
    "TooManyProviderTokenUpdates": CodeMeaning(Outcome.THROTTLED, retry_after_s=FORCED_EVERY_S),
    "IdleTimeout": UNAVAILABLE,
    "ServiceUnavailable": CodeMeaning(Outcome.UNAVAILABLE, retry_after_s=RETRY_5XX_S),
    "Shutdown": UNAVAILABLE,
    # Apple does not say whether it was sent before the error.
    "InternalServerError": CodeMeaning(Outcome.AMBIGUOUS, retry_after_s=RETRY_5XX_S),
}
"""The meaning of each `reason` of a refusal."""


class Apns(SendOnly):
    """Push through APNs. Raises ValueError when the key or authority file cannot be used."""

    name: ClassVar[str] = "apns"
    vendor = "APNs"
    capabilities: ClassVar[Capabilities] = replace(
        SendOnly.capabilities, sandbox="api.sandbox.push.apple.com (development builds)"
    )

    def __init__(self, settings: ApnsSettings, installation: Installation) -> None:
        key = read_key(settings.key_file)
        self._tokens = ProviderTokens(key, key_id=settings.key_id, team_id=settings.team_id)
        self._topic = settings.topic
        self._client = H2Client(
            settings.base_url,
            context=_trust(settings.ca_file),
            connect_s=installation.limits(self.name).connect_s,
        )

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Send to one device. A provider token that Apple calls expired is replaced once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        payload = build_payload(message)
        if refused_here := too_large(len(payload)):
            return refused_here
        token = self._tokens.current()
        answer = await self._post(message, payload, token, timeout_s)
        if isinstance(answer, Answer) and reason_of(answer) == "ExpiredProviderToken":
            renewed = self._tokens.after_expired(token)
            if renewed is not None:
                answer = await self._post(message, payload, renewed, deadline - loop.time())
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer, apns_id(message))

    async def _post(
        self, message: Message, payload: bytes, token: str, timeout_s: float
    ) -> Answer | RequestFailed:
        headers = [
            ("authorization", f"bearer {token}"),
            ("apns-topic", self._topic),
            ("apns-push-type", "alert"),
            ("apns-id", apns_id(message)),
            ("apns-expiration", str(int(message.expires_at.timestamp()))),
            ("apns-priority", "10"),
            ("apns-collapse-id", replacement_id(message.attempt_ref)),
            ("content-type", "application/json"),
            ("content-length", str(len(payload))),
        ]
        # Device tokens are untrusted: quote them so that they cannot change the path.
        path = f"/3/device/{quote(message.target.address, safe='')}"
        return await self._client.post(path, headers, payload, timeout_s=timeout_s)

    def address_of(self, device: Device) -> str | None:
        return device.apns_token

    async def aclose(self) -> None:
        await self._client.aclose()


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(
            f"the authority file {ca_file} cannot be used: {error.strerror}; "
            "point CA_FILE at a PEM file, or leave it out to use the system's authorities"
        ) from None


def apns_id(message: Message) -> str:
    """The `apns-id` of an attempt: a UUID, because Apple accepts nothing else."""
    return str(uuid5(_ID_NAMESPACE, message.attempt_ref))


def build_payload(message: Message) -> bytes:
    """The body of the request, as compact JSON."""
    alert = {"title": message.content.title, "body": message.content.body}
    payload = {
        "aps": {
            "alert": {name: text for name, text in alert.items() if text is not None},
            "sound": "default",
        },
        "herald_ref": message.attempt_ref,
    }
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def reason_of(answer: Answer) -> str | None:
    """Apple's reason; None when the answer has none in Apple's form."""
    reason = answer.fields.get("reason")
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else None


def parse_result(answer: Answer, sent_id: str) -> SendResult:
    """The result of a send."""
    if answer.status == 200:
        if answer.body:
            # Apple's acceptance has no body: an intermediary may have answered.
            return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=200)
        return SendResult(
            Outcome.ACCEPTED,
            http_status=200,
            provider_message_id=answer.headers.get("apns-id", sent_id).lower(),
        )
    reason = reason_of(answer)
    meaning = BY_REASON.get(reason or "")
    if meaning is None and answer.status == 410 and reason is not None:
        meaning = DEAD_TOKEN
    if meaning is None:
        meaning = by_status(answer.status, vendor_form=reason is not None)
        if reason is not None and answer.status >= 500:
            meaning = replace(meaning, retry_after_s=RETRY_5XX_S)
    result = refused(answer, meaning, None if reason is None else _snake(reason))
    return replace(result, dead_since=_dead_since(answer)) if answer.status == 410 else result


def _dead_since(answer: Answer) -> datetime | None:
    """The `timestamp` of a 410, in milliseconds: when Apple last saw that the token was no longer valid."""
    at_ms = answer.fields.get("timestamp")
    if not isinstance(at_ms, int) or isinstance(at_ms, bool) or not 0 < at_ms < 1 << 43:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _snake(reason: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason)
