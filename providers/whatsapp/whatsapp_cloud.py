"""WhatsApp Cloud API (WhatsApp): messages by template or text, and signed status webhooks.

Sources: Meta's OpenAPI document (facebook/openapi, business-messaging-api v23.0: sendMessage), and its
pages "Error codes" (May 2026), "Status messages webhook reference" and "Copy code authentication
templates" on developers.facebook.com.

- Outside of the 24 hours after a person's last message only approved templates are delivered: which one a
  type uses is said in herald.toml. Without one the text itself is sent, and refused there with 131047.
- There is no idempotency key and no look-up. `biz_opaque_callback_data` carries our reference and comes
  back with every status, so a lost answer is resolved by the callback, or by the type's `on_unknown`.
- Meta asks to go by an error's `code`, and not by its text or the HTTP status.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from domain.notification import Channel, Content
from domain.notification_types import WhatsAppTemplate
from domain.outcome import Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply, number_of, word_of
from providers.base import (
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    Found,
    Message,
    Resolves,
    Verdict,
)
from providers.http import Answer, NoAnswer, OverHttp, VendorClient, by_status, code_of, refused
from providers.verdicts import (
    AMBIGUOUS,
    BAD_RECIPIENT,
    NOT_THIS_MESSAGE,
    REJECTED,
    THROTTLED,
    UNAVAILABLE,
)

TEXT_CHARS_MAX: Final = 4096
PAIR_WAIT_S: Final = 6.0
"""One message in six seconds from one number to one person ("Throughput", pair rate limits)."""

ERRORS: Final[Mapping[int, Verdict]] = {
    # Authorization.
    **dict.fromkeys((0, 3, 10, 190), REJECTED),
    # The account, its number, its payment: ours to set right.
    **dict.fromkeys(
        (33, 368, 130497, 131005, 131031, 131037, 131042, 131045, 133000, 133005, 133006, 133008), REJECTED
    ),
    **dict.fromkeys((133009, 133010, 133015), REJECTED),
    # A number of Meta's own test account may write to five recipients only.
    131030: REJECTED,
    # Limits. 131048 is about all messages of our number, 131056 about one recipient of it.
    **dict.fromkeys((4, 80007, 130429, 131048, 133016), THROTTLED),
    131056: Verdict(Outcome.THROTTLED, about_provider=False, retry_after_s=PAIR_WAIT_S),
    # Not now, in Meta's own words.
    **dict.fromkeys((2, 131057, 133004), UNAVAILABLE),
    # "Unknown error" and "a service is unavailable" say nothing about the message.
    **dict.fromkeys((131000, 131016), AMBIGUOUS),
    # The request, or the type's template.
    **dict.fromkeys((100, 131008, 131009, 131051, 131052, 131053, 135000), NOT_THIS_MESSAGE),
    **dict.fromkeys(
        (132000, 132001, 132005, 132007, 132012, 132015, 132016, 132018, 132068, 132069), NOT_THIS_MESSAGE
    ),
    # This person: not on WhatsApp, ourselves, in an experiment, out of the window, enough marketing, opted
    # out of it. Another channel may reach them; a number that is not on WhatsApp today may be tomorrow.
    **dict.fromkeys((131026, 131021, 130472, 131047, 131049, 131050), BAD_RECIPIENT),
}
"""Meta's error codes in our words. Any other goes by its HTTP status."""

PERMISSIONS: Final = range(200, 300)
"""Codes of permissions that our access token does not have."""

STATUSES: Final[Mapping[str, ReceiptStatus]] = {
    "sent": ReceiptStatus.SENT,
    "delivered": ReceiptStatus.DELIVERED,
    # "delivered" may be left out where the message was read at once.
    "read": ReceiptStatus.DELIVERED,
    "played": ReceiptStatus.DELIVERED,
    "failed": ReceiptStatus.UNDELIVERED,
}
"""Statuses of a message. What is not listed says nothing that a receipt could."""

_MESSAGE_ID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]{1,200}")
_REFERENCE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MESSAGE_STATUS = re.compile(r"[a-z_]{1,40}")


class WhatsAppCloud(OverHttp):
    """Messages from one business number. `templates` are by notification type."""

    name = "whatsapp_cloud"
    capabilities = Capabilities(
        channel=Channel.WHATSAPP,
        resolves=Resolves.NONE,
        settling_s=0,
        receipts=True,
        polls=False,
        signature="HMAC-SHA256 over the body",
        sandbox="a test number of the app, to five recipients",
    )

    def __init__(
        self,
        *,
        base_url: str,
        version: str,
        phone_number_id: str,
        access_token: str,
        app_secrets: Sequence[str],
        verify_token: str,
        templates: Mapping[str, WhatsAppTemplate],
        client: Callable[[str], VendorClient] = VendorClient,
    ) -> None:
        self._client = client(base_url)
        self._path = f"/{version}/{phone_number_id}/messages"
        self._headers = {"Authorization": f"Bearer {access_token}"}
        self._phone_number_id = phone_number_id
        self._app_secrets = [secret.encode() for secret in app_secrets]
        self._verify_token = verify_token
        self._templates = templates

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Meta to send one message, by the type's template where it has one."""
        template = self._templates.get(message.type)
        content = text_of(message.content) if template is None else filled(template, message.content)
        if content is None:
            code = "text_too_long" if template is None else "template_parameter_missing"
            return SendResult(Outcome.REJECTED, code=code, about_provider=False, asked=False)
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": message.target.address,
            "biz_opaque_callback_data": message.attempt_ref,
            **content,
        }
        answer = await self._client.request(
            "POST", self._path, timeout_s=timeout_s, headers=self._headers, json=body
        )
        return answer.result if isinstance(answer, NoAnswer) else result_of(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """Nothing: Meta cannot be asked about a message."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def challenge(self, query: Mapping[str, str]) -> str:
        """What Meta is answered when the webhook's address is entered. Raises CallbackRefused."""
        token = query.get("hub.verify_token", "").encode(errors="replace")
        if query.get("hub.mode") != "subscribe" or not hmac.compare_digest(
            token, self._verify_token.encode()
        ):
            raise CallbackRefused("verify_token_wrong", "the verify token is not this installation's")
        return query.get("hub.challenge", "")

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify one webhook and translate its statuses."""
        statuses = (status for value in self._values(request) for status in _dicts(value.get("statuses")))
        return [receipt for receipt in map(receipt_of, statuses) if receipt]

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify one webhook; of the messages that people wrote, those that are STOP or START."""
        written = (one for value in self._values(request) for one in _dicts(value.get("messages")))
        return [reply for reply in map(reply_of, written) if reply]

    def _values(self, request: CallbackRequest) -> list[dict[str, Any]]:
        """What a webhook says of our number. Raises CallbackRefused."""
        verify(self._app_secrets, request)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the webhook's body is not JSON") from error
        values = [
            _fields(change.get("value"))
            for entry in _dicts(_fields(body).get("entry"))
            for change in _dicts(entry.get("changes"))
        ]
        # An app may serve several numbers, each perhaps of another installation.
        return [
            value
            for value in values
            if _fields(value.get("metadata")).get("phone_number_id") in (None, self._phone_number_id)
        ]


def text_of(content: Content) -> dict[str, Any] | None:
    """A message of its own words, for people who wrote to us lately; None when it is too long."""
    if len(content.body) > TEXT_CHARS_MAX:
        return None
    return {"type": "text", "text": {"preview_url": False, "body": content.body}}


def filled(template: WhatsAppTemplate, content: Content) -> dict[str, Any] | None:
    """The template with what it takes from the content; None when the content does not have it.

    A parameter may hold no line breaks and no runs of spaces (132018): they become one space.
    """
    values = [parameter.value(content) for parameter in template.parameters]
    if not all(values):
        return None
    texts = [{"type": "text", "text": " ".join(str(value).split())} for value in values]
    components: list[dict[str, Any]] = [{"type": "body", "parameters": texts}] if texts else []
    if template.copy_code:
        # Authentication templates repeat the code in their button.
        components.append({"type": "button", "sub_type": "url", "index": "0", "parameters": texts[:1]})
    language = {"policy": "deterministic", "code": template.language}
    named = {"name": template.template, "language": language}
    return {"type": "template", "template": named | ({"components": components} if components else {})}


def result_of(answer: Answer) -> SendResult:
    """What the answer to a send means. A 2xx without a message id is not Meta's and proves nothing."""
    if 200 <= answer.status < 300:
        messages = _dicts(answer.fields.get("messages"))
        sent = messages[0] if messages else {}
        id, status = sent.get("id"), sent.get("message_status")
        if not (isinstance(id, str) and _MESSAGE_ID.fullmatch(id)):
            return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=answer.status)
        # `held_for_quality_assessment` and `paused`: what becomes of it is told later.
        code = status if isinstance(status, str) and _MESSAGE_STATUS.fullmatch(status) else None
        return SendResult(Outcome.ACCEPTED, code=code, http_status=answer.status, provider_message_id=id)
    error = _fields(answer.fields.get("error"))
    code = _code(error)
    verdict = _meaning(code) or by_status(answer.status, vendor_form=code is not None)
    return refused(answer, verdict, code, _regained_after_s(answer))


def receipt_of(status: Mapping[str, Any]) -> Receipt | None:
    """One status as a receipt, None when it says nothing about a message of ours."""
    id, word, ref = status.get("id"), status.get("status"), status.get("biz_opaque_callback_data")
    means = STATUSES.get(word) if isinstance(word, str) else None
    if means is None or not (isinstance(id, str) and _MESSAGE_ID.fullmatch(id)):
        return None
    errors = _dicts(status.get("errors"))
    code = _code(errors[0]) if errors else None
    return Receipt(
        # There are no event ids: a message has each status once.
        event_key=f"{id}:{word}",
        status=means,
        provider_message_id=id,
        attempt_ref=ref if isinstance(ref, str) and _REFERENCE.fullmatch(ref) else None,
        code=code_of(word if code is None else code),
        permanent=means is ReceiptStatus.UNDELIVERED and _is_final(_meaning(code)),
        occurred_at=_moment(status.get("timestamp")),
    )


def reply_of(message: Mapping[str, Any]) -> Reply | None:
    """A message that somebody wrote, or the button of ours that they pressed, as a reply; None when it is
    none that counts.
    """
    id, said_by = message.get("id"), number_of(message.get("from"))
    text = _fields(message.get("text")).get("body") or _fields(message.get("button")).get("text")
    word = word_of(text)
    if said_by is None or word is None or not (isinstance(id, str) and _MESSAGE_ID.fullmatch(id)):
        return None
    return Reply(Channel.WHATSAPP, said_by, word, event_key=id, said_at=_moment(message.get("timestamp")))


def verify(secrets: Sequence[bytes], request: CallbackRequest) -> None:
    """Refuse a webhook that Meta did not sign with one of the app's secrets. Raises CallbackRefused."""
    given = request.headers.get("x-hub-signature-256", "").encode(errors="replace")
    if not given:
        raise CallbackRefused("signature_missing", "the webhook is not signed")
    signed = [b"sha256=" + hmac.digest(key, request.body, hashlib.sha256).hex().encode() for key in secrets]
    if not any(hmac.compare_digest(given, expected) for expected in signed):
        raise CallbackRefused("signature_wrong", "the webhook's signature does not match")


def _regained_after_s(answer: Answer) -> float | None:
    """When a rate-limited account may send again: `X-Business-Use-Case-Usage` tells it in minutes."""
    try:
        usage = _fields(json.loads(answer.headers.get("x-business-use-case-usage", "")))
    except (ValueError, RecursionError):
        return None
    waits = [use.get("estimated_time_to_regain_access") for uses in usage.values() for use in _dicts(uses)]
    minutes = max((wait for wait in waits if isinstance(wait, int)), default=0)
    return minutes * 60.0 or None


def _code(error: Mapping[str, Any]) -> int | None:
    code = error.get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _meaning(code: int | None) -> Verdict | None:
    if code is None:
        return None
    return REJECTED if code in PERMISSIONS else ERRORS.get(code)


def _is_final(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.outcome is Outcome.REJECTED_RECIPIENT


def _moment(value: object) -> datetime | None:
    digits = value if isinstance(value, str) and value.isascii() and value.isdigit() else ""
    return datetime.fromtimestamp(int(digits), UTC) if 0 < len(digits) <= 11 else None


def _fields(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
