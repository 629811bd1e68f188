"""WhatsApp Cloud API (WhatsApp): messages by template or text, and signed status webhooks.

Sources: Meta's OpenAPI document (facebook/openapi, business-messaging-api v23.0: sendMessage), and its
pages "Error codes" (May 2026), "Status messages webhook reference" and "Copy code authentication
templates" on developers.facebook.com.

- More than 24 hours after a person's last message only approved templates are delivered; herald.toml says
  which one a type uses. Without one the text itself is sent, and refused with 131047.
- No idempotency key and no look-up. `biz_opaque_callback_data` carries our reference and comes back with
  every status, so a lost answer is resolved by the callback, or by the type's `on_unknown`.
- Meta asks clients to use an error's `code`, not its text or the HTTP status.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, cast

from domain.notification import Channel, Content
from domain.notification_types import WhatsAppTemplate
from domain.outcome import Match, Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply, number_of, word_of
from providers.base import (
    AmbiguityResolution,
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    Message,
)
from providers.code_meanings import (
    AMBIGUOUS,
    BAD_RECIPIENT,
    NOT_THIS_MESSAGE,
    REJECTED,
    THROTTLED,
    UNAVAILABLE,
)
from providers.http import Answer, HttpProvider, RequestFailed, by_status, code_of, refused
from providers.installation import Installation
from providers.settings import WhatsAppCloudSettings, in_bytes

TEXT_CHARS_MAX: Final = 4096
PAIR_WAIT_S: Final = 6.0
"""One message per six seconds from one number to one person ("Throughput", pair rate limits)."""

ERRORS: Final[Mapping[int, CodeMeaning]] = {
    # Authorization.
    **dict.fromkeys((0, 3, 10, 190), REJECTED),
    # The account, its number, its payment: ours to fix.
    **dict.fromkeys(
        (33, 368, 130497, 131005, 131031, 131037, 131042, 131045, 133000, 133005, 133006, 133008), REJECTED
    ),
    **dict.fromkeys((133009, 133010, 133015), REJECTED),
    # A test number may only write to five recipients.
    131030: REJECTED,
    # Limits. 131048 is about all messages of our number, 131056 about one recipient of it.
    **dict.fromkeys((4, 80007, 130429, 131048, 133016), THROTTLED),
    131056: CodeMeaning(Outcome.THROTTLED, about_provider=False, retry_after_s=PAIR_WAIT_S),
    # Not now, in Meta's own words.
    **dict.fromkeys((2, 131057, 133004), UNAVAILABLE),
    # "Unknown error" and "a service is unavailable" say nothing about the message.
    **dict.fromkeys((131000, 131016), AMBIGUOUS),
    # The request, or the type's template.
    **dict.fromkeys((100, 131008, 131009, 131051, 131052, 131053, 135000), NOT_THIS_MESSAGE),
    **dict.fromkeys(
        (132000, 132001, 132005, 132007, 132012, 132015, 132016, 132018, 132068, 132069), NOT_THIS_MESSAGE
    ),
    # This person: not on WhatsApp, ourselves, in an experiment, outside the 24 hours, over the marketing
    # limit, opted out of marketing. Another channel may reach them, and a number may join WhatsApp later.
    **dict.fromkeys((131026, 131021, 130472, 131047, 131049, 131050), BAD_RECIPIENT),
}
"""The meanings of Meta's error codes. Any other is read by its HTTP status."""

PERMISSIONS: Final = range(200, 300)
"""Codes for permissions that our access token lacks."""

STATUSES: Final[Mapping[str, ReceiptStatus]] = {
    "sent": ReceiptStatus.SENT,
    "delivered": ReceiptStatus.DELIVERED,
    # "delivered" may be missing where the message was read immediately.
    "read": ReceiptStatus.DELIVERED,
    "played": ReceiptStatus.DELIVERED,
    "failed": ReceiptStatus.UNDELIVERED,
}
"""Statuses of a message. Any other is ignored."""

_MESSAGE_ID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]{1,200}")
_REFERENCE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MESSAGE_STATUS = re.compile(r"[a-z_]{1,40}")


class WhatsAppCloud(HttpProvider):
    """Messages from one business number. Notification types may have a template."""

    name: ClassVar[str] = "whatsapp_cloud"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.WHATSAPP,
        resolves=AmbiguityResolution.NONE,
        visibility_delay_s=0,
        receipts=True,
        polls=False,
        signature="HMAC-SHA256 over the body",
        sandbox="a test number of the app, to five recipients",
    )

    def __init__(self, settings: WhatsAppCloudSettings, installation: Installation) -> None:
        self._client = installation.client(self.name, settings.base_url)
        self._path = f"/{settings.version}/{settings.phone_number_id}/messages"
        self._headers = {"Authorization": f"Bearer {settings.access_token.get_secret_value()}"}
        self._phone_number_id = settings.phone_number_id
        self._app_secrets = in_bytes(settings.app_secret, settings.app_secret_previous)
        self._verify_tokens = in_bytes(settings.verify_token)
        self._templates = {
            name: of.whatsapp for name, of in installation.catalog.types.items() if of.whatsapp
        }

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Meta to send one message, by the type's template where it has one."""
        template = self._templates.get(message.type)
        payload = build_payload(message, template)
        if payload is None:
            code = "text_too_long" if template is None else "template_parameter_missing"
            return SendResult(Outcome.REJECTED, code=code, about_provider=False, asked=False)
        answer = await self._client.request(
            "POST", self._path, timeout_s=timeout_s, headers=self._headers, json=payload
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """Nothing: Meta has no look-up."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def challenge(self, query: Mapping[str, str]) -> str:
        """The answer to Meta's check of the webhook's URL. Raises CallbackRefused."""
        token = query.get("hub.verify_token", "").encode(errors="replace")
        known = any(hmac.compare_digest(token, own) for own in self._verify_tokens)
        if query.get("hub.mode") != "subscribe" or not known:
            raise CallbackRefused("verify_token_wrong", "the verify token does not match")
        return query.get("hub.challenge", "")

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify one webhook and translate its statuses."""
        statuses = (
            status for value in self._read_callback(request) for status in _dicts(value.get("statuses"))
        )
        return [receipt for receipt in map(parse_receipt, statuses) if receipt]

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify one webhook; a reply for each received message that says STOP or START."""
        written = (one for value in self._read_callback(request) for one in _dicts(value.get("messages")))
        return [reply for reply in map(parse_reply, written) if reply]

    def _read_callback(self, request: CallbackRequest) -> list[dict[str, Any]]:
        """The changes that a webhook reports for our number. Raises CallbackRefused."""
        verify_signature(self._app_secrets, request)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the webhook's body is not JSON") from error
        values = [
            _fields(change.get("value"))
            for entry in _dicts(_fields(body).get("entry"))
            for change in _dicts(entry.get("changes"))
        ]
        # An app may have several numbers, some of them another installation's.
        return [
            value
            for value in values
            if _fields(value.get("metadata")).get("phone_number_id") in (None, self._phone_number_id)
        ]


def build_payload(message: Message, template: WhatsAppTemplate | None) -> dict[str, Any] | None:
    """The body of `POST …/messages`; None when the text is too long, or the template cannot be filled."""
    content = _text(message.content) if template is None else fill(template, message.content)
    if content is None:
        return None
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.target.address,
        "biz_opaque_callback_data": message.attempt_ref,
        **content,
    }


def _text(content: Content) -> dict[str, Any] | None:
    """Free text, for recipients who wrote to us in the last 24 hours; None when it is too long."""
    if len(content.body) > TEXT_CHARS_MAX:
        return None
    return {"type": "text", "text": {"preview_url": False, "body": content.body}}


def fill(template: WhatsAppTemplate, content: Content) -> dict[str, Any] | None:
    """The template with its parameters from the content; None when the content lacks one of them.

    A parameter must not contain line breaks or runs of spaces (132018): they become one space.
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


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. A 2xx without a message id is not Meta's, and proves nothing."""
    if 200 <= answer.status < 300:
        messages = _dicts(answer.fields.get("messages"))
        sent = messages[0] if messages else {}
        message_id, status = sent.get("id"), sent.get("message_status")
        if not (isinstance(message_id, str) and _MESSAGE_ID.fullmatch(message_id)):
            return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=answer.status)
        # `held_for_quality_assessment` and `paused`: a webhook reports the outcome later.
        code = status if isinstance(status, str) and _MESSAGE_STATUS.fullmatch(status) else None
        return SendResult(
            Outcome.ACCEPTED, code=code, http_status=answer.status, provider_message_id=message_id
        )
    error = _fields(answer.fields.get("error"))
    code = _code(error)
    meaning = _meaning(code) or by_status(answer.status, vendor_form=code is not None)
    return refused(answer, meaning, code, _regained_after_s(answer))


def parse_receipt(status: Mapping[str, Any]) -> Receipt | None:
    """One status as a receipt; None when it says nothing about a message of ours."""
    message_id, word, ref = status.get("id"), status.get("status"), status.get("biz_opaque_callback_data")
    means = STATUSES.get(word) if isinstance(word, str) else None
    if means is None or not (isinstance(message_id, str) and _MESSAGE_ID.fullmatch(message_id)):
        return None
    errors = _dicts(status.get("errors"))
    code = _code(errors[0]) if errors else None
    return Receipt(
        # There are no event ids: a message has each status once.
        event_key=f"{message_id}:{word}",
        status=means,
        provider_message_id=message_id,
        attempt_ref=ref if isinstance(ref, str) and _REFERENCE.fullmatch(ref) else None,
        code=code_of(word if code is None else code),
        permanent=means is ReceiptStatus.UNDELIVERED and _is_final(_meaning(code)),
        occurred_at=_moment(status.get("timestamp")),
    )


def parse_reply(message: Mapping[str, Any]) -> Reply | None:
    """A received message, or the pressed button of one of ours, as a reply; None unless it says STOP or
    START.
    """
    message_id, said_by = message.get("id"), number_of(message.get("from"))
    text = _fields(message.get("text")).get("body") or _fields(message.get("button")).get("text")
    word = word_of(text)
    if (
        said_by is None
        or word is None
        or not (isinstance(message_id, str) and _MESSAGE_ID.fullmatch(message_id))
    ):
        return None
    return Reply(
        Channel.WHATSAPP, said_by, word, event_key=message_id, said_at=_moment(message.get("timestamp"))
    )


def verify_signature(secrets: Sequence[bytes], request: CallbackRequest) -> None:
    """Raises CallbackRefused unless Meta signed the webhook with one of the app's secrets."""
    given = request.headers.get("x-hub-signature-256", "").encode(errors="replace")
    if not given:
        raise CallbackRefused("signature_missing", "the webhook is not signed")
    signed = [b"sha256=" + hmac.digest(key, request.body, hashlib.sha256).hex().encode() for key in secrets]
    if not any(hmac.compare_digest(given, expected) for expected in signed):
        raise CallbackRefused("signature_wrong", "the webhook's signature does not match")


def _regained_after_s(answer: Answer) -> float | None:
    """When a rate-limited account may send again: `X-Business-Use-Case-Usage` has it in minutes."""
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


def _meaning(code: int | None) -> CodeMeaning | None:
    if code is None:
        return None
    return REJECTED if code in PERMISSIONS else ERRORS.get(code)


def _is_final(meaning: CodeMeaning | None) -> bool:
    return meaning is not None and meaning.outcome is Outcome.REJECTED_RECIPIENT


def _moment(value: object) -> datetime | None:
    digits = value if isinstance(value, str) and value.isascii() and value.isdigit() else ""
    return datetime.fromtimestamp(int(digits), UTC) if 0 < len(digits) <= 11 else None


def _fields(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
