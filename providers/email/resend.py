"""Resend (email): emails with an idempotency key, and Svix-signed webhooks.

Sources: Resend's OpenAPI file (resend/resend-openapi: emails, webhook events) and the error table and
webhook pages of resend/resend-skills, which repeat resend.com/docs.

- It takes an idempotency key, kept for 24 hours: an ambiguous send is resolved by repeating the request
  with the same key, which returns the first answer.
- When Resend knows the key with another body, or another request is using it, an earlier call of the same
  attempt arrived. Its result is not reported, so the send stays ambiguous.
- Tags allow only letters, digits, `_` and `-`, so our reference is sent with `_` instead of its dot.
- A webhook's body has no id: the header `svix-id` identifies it, and is the same when it is retried.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, cast
from urllib.parse import quote

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from domain.notification import Channel
from domain.outcome import Match, Outcome, Receipt, SendResult
from providers.base import (
    AmbiguityResolution,
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    LookupFailed,
    Message,
)
from providers.code_meanings import AMBIGUOUS, BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED, THROTTLED
from providers.email.event_meanings import BAD_ADDRESS, DELIVERED, FAILED_HERE, OBJECTED, QUEUED, EventMeaning
from providers.email.fields import (
    REFERENCE,
    event_key_of,
    is_one_address,
    one_sender,
    reference_in,
    subject_of,
    unsubscribing,
)
from providers.http import Answer, HttpProvider, RequestFailed, by_status, code_of, refused
from providers.installation import Installation
from providers.settings import ResendSettings, in_bytes

VISIBILITY_DELAY_S: Final = 0.0
"""No delay: repeating the request is the look-up."""
KEY_LIFE_S: Final = 86_400.0
QUOTA_WAIT_S: Final = 3600.0
"""A quota is renewed when the day or the month ends, or when more is bought."""
_ARRIVED_BEFORE: Final = CodeMeaning(Outcome.AMBIGUOUS, about_provider=False)
SIGNATURE_AGE_S_MAX: Final = 300
"""As Svix documents it; the verifying library enforces it too."""

ERRORS: Final[Mapping[str, CodeMeaning]] = {
    "invalid_idempotent_request": _ARRIVED_BEFORE,
    "concurrent_idempotent_requests": _ARRIVED_BEFORE,
    "invalid_idempotency_key": NOT_THIS_MESSAGE,
    "validation_error": REJECTED,
    "missing_required_field": NOT_THIS_MESSAGE,
    "missing_required_fields": NOT_THIS_MESSAGE,
    "invalid_parameter": NOT_THIS_MESSAGE,
    "invalid_attachment": NOT_THIS_MESSAGE,
    "invalid_from_address": REJECTED,
    "invalid_access": REJECTED,
    "invalid_region": REJECTED,
    "missing_api_key": REJECTED,
    "restricted_api_key": REJECTED,
    "suspended_api_key": REJECTED,
    "invalid_api_key": REJECTED,
    "not_found": REJECTED,
    "method_not_allowed": REJECTED,
    "security_error": NOT_THIS_MESSAGE,
    "rate_limit_exceeded": THROTTLED,
    "daily_quota_exceeded": CodeMeaning(Outcome.THROTTLED, retry_after_s=QUOTA_WAIT_S),
    "monthly_quota_exceeded": CodeMeaning(Outcome.THROTTLED, retry_after_s=QUOTA_WAIT_S),
    "application_error": AMBIGUOUS,
    "internal_server_error": AMBIGUOUS,
}
"""Resend's error names. Any other is read by its HTTP status. A `validation_error` may be about a field or
about our domain, and does not say which."""

_NOT_BASE64: Final = "webhook_secret must be base64 after whsec_; copy it from Resend"

_BAD_RECIPIENT: Final = "invalid `to` field"
"""How the text of a `validation_error` about the recipient starts, in lower case."""

EVENTS: Final[Mapping[str, EventMeaning]] = {
    "queued": QUEUED,
    "scheduled": QUEUED,
    "sent": QUEUED,
    "delivery_delayed": QUEUED,
    "delivered": DELIVERED,
    "opened": DELIVERED,
    "clicked": DELIVERED,
    "complained": OBJECTED,
    "bounced": FAILED_HERE,
    "failed": FAILED_HERE,
    "canceled": FAILED_HERE,
    "suppressed": BAD_ADDRESS,
}
"""Events of an email, which are also the values of `last_event`. `sent` says only that Resend accepted the
request. Any other event is ignored."""

BOUNCES: Final[Mapping[tuple[str, str], EventMeaning]] = {
    ("permanent", "general"): BAD_ADDRESS,
    ("permanent", "noemail"): BAD_ADDRESS,
    ("transient", "general"): FAILED_HERE,
    ("transient", "mailboxfull"): FAILED_HERE,
    ("transient", "messagetoolarge"): FAILED_HERE,
    ("transient", "contentrejected"): FAILED_HERE,
    ("transient", "attachmentrejected"): FAILED_HERE,
    ("undetermined", "undetermined"): FAILED_HERE,
}
"""Types and sub-types of bounces in lower case. Any other pair is not stored as a code, and says nothing
about the address."""

_EMAIL_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Resend(HttpProvider):
    """Mail through Resend. Raises ValueError for an unusable webhook secret."""

    name: ClassVar[str] = "resend"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.EMAIL,
        resolves=AmbiguityResolution.IDEMPOTENT,
        visibility_delay_s=VISIBILITY_DELAY_S,
        receipts=True,
        polls=True,
        key_life_s=KEY_LIFE_S,
        matches_by="the same request with the same key",
        signature="HMAC-SHA256 over id, time and body (Svix), 5 minutes",
        sandbox="delivered@resend.dev, bounced@resend.dev, complained@resend.dev",
    )

    def __init__(self, settings: ResendSettings, installation: Installation) -> None:
        secrets = in_bytes(settings.webhook_secret, settings.webhook_secret_previous)
        try:
            self._webhooks = [Webhook(secret.decode()) for secret in secrets]
        except (ValueError, EmptyWebhookSecretError) as error:
            raise ValueError(_NOT_BASE64) from error
        if not self._webhooks:
            raise ValueError(_NOT_BASE64)
        self._client = installation.client(self.name, settings.base_url)
        self._headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}
        self._from = one_sender(settings.from_email)

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Resend to send one mail. Repeated for the same attempt, it returns the first answer."""
        if not is_one_address(message.target.address):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="address_malformed", asked=False)
        answer = await self._client.request(
            "POST",
            "/emails",
            timeout_s=timeout_s,
            headers={**self._headers, "Idempotency-Key": message.attempt_ref},
            json=build_payload(message, self._from),
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """Nothing: repeating the request is the look-up."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The last event of a mail. An API key that may only send cannot query it."""
        path = f"/emails/{quote(provider_message_id, safe='')}"
        answer = await self._client.request("GET", path, timeout_s=timeout_s, headers=self._headers)
        if isinstance(answer, RequestFailed):
            raise LookupFailed(f"The request to Resend failed: {answer.code}")
        if answer.status == 404 and "name" in answer.fields:
            return None
        if answer.status != 200 or answer.fields.get("id") != provider_message_id:
            raise LookupFailed(f"Resend answered with HTTP {answer.status}")
        return parse_last_receipt(answer.fields)

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one webhook."""
        verify_signature(self._webhooks, request)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the webhook's body is not JSON") from error
        fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        receipt = parse_receipt(fields, request.headers["svix-id"])
        return [receipt] if receipt else []


def build_payload(message: Message, sender: str) -> dict[str, Any]:
    """The body of `POST /emails`: the same for the same attempt, or its key would be refused."""
    return {
        "from": sender,
        "to": [message.target.address],
        "subject": subject_of(message),
        "text": message.content.body,
        "tags": [{"name": REFERENCE, "value": message.attempt_ref.replace(".", "_")}],
        **({"headers": headers} if (headers := unsubscribing(message)) else {}),
    }


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. A 2xx without an id is not Resend's, and proves nothing."""
    fields = answer.fields
    if 200 <= answer.status < 300:
        email_id = _id_of(fields.get("id"))
        if email_id:
            return SendResult(Outcome.ACCEPTED, http_status=answer.status, provider_message_id=email_id)
        return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=answer.status)
    name, text = fields.get("name"), str(fields.get("message", "")).strip().lower()
    vendor_form = isinstance(name, str)
    if name == "validation_error" and answer.status < 500 and text.startswith(_BAD_RECIPIENT):
        return refused(answer, BAD_RECIPIENT, "to_invalid")
    known = ERRORS.get(name) if vendor_form else None
    meaning = known or by_status(answer.status, vendor_form=vendor_form)
    return refused(answer, meaning, name if known else None)


def parse_last_receipt(email: Mapping[str, Any]) -> Receipt | None:
    """The last event of an email resource, as a receipt."""
    email_id, event = _id_of(email.get("id")), str(email.get("last_event"))
    means = EVENTS.get(event)
    return _receipt(email_id, event, means, f"{email_id}:{event}") if email_id and means else None


def parse_receipt(event: Mapping[str, Any], key: str = "") -> Receipt | None:
    """One webhook event as a receipt; None when it says nothing about a message of ours.

    `key`: the vendor's id of the webhook.
    """
    kind, data = event.get("type"), event.get("data")
    if not (isinstance(kind, str) and kind.startswith("email.") and isinstance(data, dict)):
        return None
    name = kind.removeprefix("email.")
    details = cast("dict[str, Any]", data)
    means, email_id = EVENTS.get(name), _id_of(details.get("email_id"))
    if means is None or email_id is None:
        return None
    code = name
    if name == "bounced":
        means, code = _bounce(details.get("bounce"))
    tags = details.get("tags")
    tag = tags.get(REFERENCE) if isinstance(tags, dict) else None
    ref = reference_in({REFERENCE: ".".join(tag.rsplit("_", 1))}) if isinstance(tag, str) else None
    return _receipt(
        email_id, code, means, event_key_of(key or f"{email_id}:{name}"), ref, event.get("created_at")
    )


def _receipt(
    email_id: str, code: str, means: EventMeaning, key: str, ref: str | None = None, at: object = None
) -> Receipt:
    return Receipt(
        event_key=key,
        status=means.status,
        provider_message_id=email_id,
        attempt_ref=ref,
        code=code_of(code),
        permanent=means.permanent,
        address_verdict=means.address,
        occurred_at=_moment(at),
    )


def _bounce(bounce: object) -> tuple[EventMeaning, str]:
    fields = cast("dict[str, Any]", bounce) if isinstance(bounce, dict) else {}
    kind, sub = (str(fields.get(name, "")).lower() for name in ("type", "subType"))
    means = BOUNCES.get((kind, sub))
    return (means, f"bounced:{kind}:{sub}") if means else (FAILED_HERE, "bounced")


def verify_signature(webhooks: Sequence[Webhook], request: CallbackRequest) -> None:
    """Raises CallbackRefused unless Resend signed the webhook recently with one of the secrets."""
    signed = {name: request.headers.get(f"svix-{name}", "") for name in ("id", "timestamp", "signature")}
    if not all(signed.values()):
        raise CallbackRefused("signature_missing", "the webhook is not signed")
    stamp = signed["timestamp"]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise CallbackRefused("signature_wrong", "the webhook's timestamp is not a number")
    if abs(request.now.timestamp() - int(stamp)) > SIGNATURE_AGE_S_MAX:
        raise CallbackRefused("too_old", "the webhook was signed too long ago, or in the future")
    headers = {f"webhook-{name}": value for name, value in signed.items()}
    if not any(_signed_with(webhook, request.body, headers) for webhook in webhooks):
        raise CallbackRefused("signature_wrong", "the webhook's signature does not match")


def _signed_with(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def _id_of(value: object) -> str | None:
    return value if isinstance(value, str) and _EMAIL_ID.fullmatch(value) else None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None
