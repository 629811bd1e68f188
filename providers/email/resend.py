"""Resend (email): emails with an idempotency key, and Svix-signed webhooks.

Sources: Resend's OpenAPI file (resend/resend-openapi: emails, webhook events) and the error table and
webhook pages of resend/resend-skills, which repeat resend.com/docs.

- It takes an idempotency key, kept for 24 hours: an ambiguous send is resolved by making the same
  request again with the same key. The answer is then the first one's.
- A key that Resend knows with another body, or that is in use by another request, proves that an
  earlier call of the same attempt arrived. What came of that one is not said: it stays ambiguous.
- Tags allow letters, digits, `_` and `-` only, so our reference rides in one with `_` for its dot.
- A webhook has no id in its body: `svix-id` names it, and stays the same when it is repeated.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import quote

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from domain.notification import Channel
from domain.outcome import Outcome, Receipt, SendResult
from providers.base import (
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    Found,
    LookupFailed,
    Message,
    Resolves,
    Verdict,
)
from providers.email.fields import (
    REFERENCE,
    event_key_of,
    is_one_address,
    one_sender,
    reference_in,
    subject_of,
    unsubscribing,
)
from providers.email.meanings import BAD_ADDRESS, DELIVERED, FAILED_HERE, OBJECTED, QUEUED, Meaning
from providers.http import Answer, NoAnswer, OverHttp, VendorClient, by_status, code_of, refused
from providers.verdicts import AMBIGUOUS, BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED, THROTTLED

SETTLING_S: Final = 0.0
"""Nothing settles later: repeating the request is the look-up."""
KEY_LIFE_S: Final = 86_400.0
QUOTA_WAIT_S: Final = 3600.0
"""A quota is back when the day or the month ends, or when somebody buys more."""
_ARRIVED_BEFORE: Final = Verdict(Outcome.AMBIGUOUS, about_provider=False)
SIGNATURE_AGE_S_MAX: Final = 300
"""What Svix documents, and what the verifying library holds to by itself."""

ERRORS: Final[Mapping[str, Verdict]] = {
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
    "daily_quota_exceeded": Verdict(Outcome.THROTTLED, retry_after_s=QUOTA_WAIT_S),
    "monthly_quota_exceeded": Verdict(Outcome.THROTTLED, retry_after_s=QUOTA_WAIT_S),
    "application_error": AMBIGUOUS,
    "internal_server_error": AMBIGUOUS,
}
"""What Resend's error names mean for a send. Any other goes by its HTTP status. A `validation_error` may
be about a field or about our domain, and does not say which."""

_BAD_RECIPIENT: Final = "invalid `to` field"
"""How the text of a `validation_error` about the recipient begins, in lower case."""

EVENTS: Final[Mapping[str, Meaning]] = {
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
"""Events of an email, and the words of `last_event`. `sent` says only that Resend took the request.
What is not listed says nothing about a message of ours."""

BOUNCES: Final[Mapping[tuple[str, str], Meaning]] = {
    ("permanent", "general"): BAD_ADDRESS,
    ("permanent", "noemail"): BAD_ADDRESS,
    ("transient", "general"): FAILED_HERE,
    ("transient", "mailboxfull"): FAILED_HERE,
    ("transient", "messagetoolarge"): FAILED_HERE,
    ("transient", "contentrejected"): FAILED_HERE,
    ("transient", "attachmentrejected"): FAILED_HERE,
    ("undetermined", "undetermined"): FAILED_HERE,
}
"""Types and sub-types of bounces in lower case. A pair that is not listed is not kept as a code, and says
nothing about the address."""

_EMAIL_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Resend(OverHttp):
    """Mail through Resend. `from_email` may carry a name; `webhook_secrets` begin with `whsec_`.

    Raises ValueError when a secret is none.
    """

    name = "resend"
    capabilities = Capabilities(
        channel=Channel.EMAIL,
        resolves=Resolves.IDEMPOTENT,
        settling_s=SETTLING_S,
        receipts=True,
        polls=True,
        key_life_s=KEY_LIFE_S,
        matches_by="the same request with the same key",
        signature="HMAC-SHA256 over id, time and body (Svix), 5 minutes",
        sandbox="delivered@resend.dev, bounced@resend.dev, complained@resend.dev",
    )

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        from_email: str,
        webhook_secrets: Sequence[str],
        client: Callable[[str], VendorClient] = VendorClient,
    ) -> None:
        try:
            self._webhooks = [Webhook(secret) for secret in webhook_secrets]
        except (ValueError, EmptyWebhookSecretError) as error:
            raise ValueError("the webhook_secret is not what Resend shows: base64 after whsec_") from error
        self._client = client(base_url)
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._from = one_sender(from_email)

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Resend to send one mail. Made again for the same attempt, it gives the first answer."""
        if not is_one_address(message.target.address):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="address_malformed", asked=False)
        answer = await self._client.request(
            "POST",
            "/emails",
            timeout_s=timeout_s,
            headers={**self._headers, "Idempotency-Key": message.attempt_ref},
            json=payload_of(message, self._from),
        )
        return answer.result if isinstance(answer, NoAnswer) else result_of(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """Nothing: the request made again is the look-up."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """What happened last to a mail; an API key that may only send cannot ask."""
        path = f"/emails/{quote(provider_message_id, safe='')}"
        answer = await self._client.request("GET", path, timeout_s=timeout_s, headers=self._headers)
        if isinstance(answer, NoAnswer):
            raise LookupFailed(f"Resend could not be asked: {answer.code}")
        if answer.status == 404 and "name" in answer.fields:
            return None
        if answer.status != 200 or answer.fields.get("id") != provider_message_id:
            raise LookupFailed(f"Resend could not be asked: it answered HTTP {answer.status}")
        return last_receipt(answer.fields)

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one webhook."""
        verify(self._webhooks, request)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the webhook's body is not JSON") from error
        fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        receipt = receipt_of(fields, request.headers["svix-id"])
        return [receipt] if receipt else []


def payload_of(message: Message, sender: str) -> dict[str, Any]:
    """The body of `POST /emails`. The same attempt gives the same body, or its key would be refused."""
    return {
        "from": sender,
        "to": [message.target.address],
        "subject": subject_of(message),
        "text": message.content.body,
        "tags": [{"name": REFERENCE, "value": message.attempt_ref.replace(".", "_")}],
        **({"headers": headers} if (headers := unsubscribing(message)) else {}),
    }


def result_of(answer: Answer) -> SendResult:
    """What the answer to a send means. A 2xx without an id is not Resend's and proves nothing."""
    fields = answer.fields
    if 200 <= answer.status < 300:
        id = _id_of(fields.get("id"))
        if id:
            return SendResult(Outcome.ACCEPTED, http_status=answer.status, provider_message_id=id)
        return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=answer.status)
    name, said = fields.get("name"), str(fields.get("message", "")).strip().lower()
    vendor_form = isinstance(name, str)
    if name == "validation_error" and answer.status < 500 and said.startswith(_BAD_RECIPIENT):
        return refused(answer, BAD_RECIPIENT, "to_invalid")
    known = ERRORS.get(name) if vendor_form else None
    verdict = known or by_status(answer.status, vendor_form=vendor_form)
    return refused(answer, verdict, name if known else None)


def last_receipt(email: Mapping[str, Any]) -> Receipt | None:
    """What happened last to an email that was asked for, as a receipt."""
    id, event = _id_of(email.get("id")), str(email.get("last_event"))
    means = EVENTS.get(event)
    return _receipt(id, event, means, f"{id}:{event}") if id and means else None


def receipt_of(event: Mapping[str, Any], key: str = "") -> Receipt | None:
    """One webhook event as a receipt, None when it says nothing about a message of ours.

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
    id: str, code: str, means: Meaning, key: str, ref: str | None = None, at: object = None
) -> Receipt:
    return Receipt(
        event_key=key,
        status=means.status,
        provider_message_id=id,
        attempt_ref=ref,
        code=code_of(code),
        permanent=means.permanent,
        address_verdict=means.address,
        occurred_at=_moment(at),
    )


def _bounce(bounce: object) -> tuple[Meaning, str]:
    fields = cast("dict[str, Any]", bounce) if isinstance(bounce, dict) else {}
    kind, sub = (str(fields.get(name, "")).lower() for name in ("type", "subType"))
    means = BOUNCES.get((kind, sub))
    return (means, f"bounced:{kind}:{sub}") if means else (FAILED_HERE, "bounced")


def verify(webhooks: Sequence[Webhook], request: CallbackRequest) -> None:
    """Refuse a webhook that Resend did not sign with one of the secrets, lately. Raises CallbackRefused."""
    signed = {name: request.headers.get(f"svix-{name}", "") for name in ("id", "timestamp", "signature")}
    if not all(signed.values()):
        raise CallbackRefused("signature_missing", "the webhook is not signed")
    stamp = signed["timestamp"]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise CallbackRefused("signature_wrong", "the webhook's timestamp is none")
    if abs(request.now.timestamp() - int(stamp)) > SIGNATURE_AGE_S_MAX:
        raise CallbackRefused("too_old", "the webhook was not signed lately")
    headers = {f"webhook-{name}": value for name, value in signed.items()}
    if not any(_believed(webhook, request.body, headers) for webhook in webhooks):
        raise CallbackRefused("signature_wrong", "the webhook's signature does not match")


def _believed(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
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
