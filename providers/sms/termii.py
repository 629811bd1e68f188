"""Termii (SMS), as developer.termii.com and answers recorded by its users describe it.

- No idempotency key and no reference of ours: an ambiguous send is looked up in the account's inbox
  by recipient, text and time.
- Message ids have more digits than fit in 64 bits: they are strings everywhere.
- Its errors have no codes besides the HTTP status. Known texts become codes of ours here; an unknown
  text is never stored.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, cast

from domain.notification import Channel
from domain.outcome import Match, Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply, number_of, word_of
from providers.base import (
    AmbiguityResolution,
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    LookupFailed,
    Message,
)
from providers.code_meanings import BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED
from providers.http import Answer, HttpProvider, RequestFailed, by_status, code_of, refused
from providers.installation import Installation
from providers.settings import TermiiSettings, in_bytes

VISIBILITY_DELAY_S: Final = 30.0
"""It is not documented how soon a message appears in the inbox."""
LOOKUP_BEFORE: Final = timedelta(minutes=15)
"""How much older than the intent a message may look. Termii's times have no zone; read in its own (UTC+1),
a message only looks younger."""

MESSAGE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")

ERRORS: Final[Sequence[tuple[str, str, CodeMeaning]]] = (
    ("invalid phone number", "invalid_phone_number", BAD_RECIPIENT),
    ("invalid sender id", "invalid_sender_id", REJECTED),
    ("you are not set up on this route", "route_not_set_up", REJECTED),
    ("your account is not active", "account_not_active", REJECTED),
    ("country inactive", "country_inactive", NOT_THIS_MESSAGE),
    ("insufficient balance", "insufficient_balance", REJECTED),
)
"""How Termii's error texts start, in lower case; our code for each, and what it means."""

STATUSES: Final[Sequence[tuple[str, str, ReceiptStatus]]] = (
    ("message sent", "sent", ReceiptStatus.SENT),
    ("delivered", "delivered", ReceiptStatus.DELIVERED),
    ("dnd active", "dnd_active", ReceiptStatus.UNDELIVERED),
    ("message failed", "failed", ReceiptStatus.UNDELIVERED),
    ("failed", "failed", ReceiptStatus.UNDELIVERED),
    ("rejected", "rejected", ReceiptStatus.UNDELIVERED),
    ("expired", "expired", ReceiptStatus.UNDELIVERED),
)
"""How Termii's statuses start, in lower case; our code for each, and what it means."""


class Termii(HttpProvider):
    """SMS through Termii."""

    name: ClassVar[str] = "termii"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.SMS,
        resolves=AmbiguityResolution.LOOKUP,
        visibility_delay_s=VISIBILITY_DELAY_S,
        receipts=True,
        polls=True,
        matches_by="recipient, text and time",
        signature="HMAC-SHA512 over the body",
    )

    def __init__(self, settings: TermiiSettings, installation: Installation) -> None:
        self._client = installation.client(self.name, settings.base_url)
        self._api_key = settings.api_key.get_secret_value()
        self._sender_id = settings.sender_id
        self._secrets = in_bytes(settings.webhook_secret, settings.webhook_secret_previous)
        self._route = settings.route

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Termii to send one SMS."""
        answer = await self._client.request(
            "POST",
            "/api/sms/send",
            timeout_s=timeout_s,
            json={"api_key": self._api_key, **build_payload(message, self._sender_id, self._route)},
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """The inbox's messages to this recipient with this text since shortly before the intent."""
        since = message.intended_at - LOOKUP_BEFORE
        return [
            Match(str(entry["message_id"]), certain=False, receipt=parse_receipt(entry))
            for entry in await self._query({}, timeout_s)
            if _is_ours(entry, message, self._sender_id) and _created(entry) >= since
        ]

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """Termii's status of one message."""
        for entry in await self._query({"message_id": provider_message_id}, timeout_s):
            if str(entry.get("message_id")) == provider_message_id:
                return parse_receipt(entry)
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one delivery report."""
        receipt = parse_receipt(self._read_callback(request))
        return [receipt] if receipt else []

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify a message to our number; returns a reply if it says STOP or START."""
        reply = parse_reply(self._read_callback(request))
        return [reply] if reply else []

    def _read_callback(self, request: CallbackRequest) -> dict[str, Any]:
        signature = request.headers.get("x-termii-signature")
        if not signature:
            raise CallbackRefused("signature_missing", "the delivery report has no X-Termii-Signature")
        given = signature.strip().lower().encode()
        expected = [hmac.new(secret, request.body, hashlib.sha512).hexdigest() for secret in self._secrets]
        if not any(hmac.compare_digest(one.encode(), given) for one in expected):
            raise CallbackRefused("signature_wrong", "the delivery report's signature does not match")
        try:
            report = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the delivery report is not JSON") from error
        if not isinstance(report, dict):
            raise CallbackRefused("malformed", "the delivery report is not a JSON object")
        return cast("dict[str, Any]", report)

    async def _query(self, query: Mapping[str, str], timeout_s: float) -> list[dict[str, Any]]:
        answer = await self._client.request(
            "GET", "/api/sms/inbox", timeout_s=timeout_s, params={"api_key": self._api_key, **query}
        )
        if isinstance(answer, RequestFailed):
            raise LookupFailed(f"The request to Termii failed: {answer.code}")
        entries = answer.json
        if answer.status != 200 or not isinstance(entries, list):
            raise LookupFailed(f"Termii answered with HTTP {answer.status}")
        return [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]


def build_payload(message: Message, sender_id: str, route: str) -> dict[str, str]:
    """The body of `POST /api/sms/send`, without the API key."""
    return {
        "to": digits_of(message.target.address),
        "from": sender_id,
        "sms": message.content.body,
        "type": "plain",
        "channel": route,
    }


def digits_of(number: str) -> str:
    """A phone number as Termii writes it: digits without the plus."""
    return "".join(character for character in number if character.isdigit())


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. `code` is "ok" on success, and the HTTP status otherwise."""
    fields = answer.fields
    id = _id_of(fields.get("message_id_str") or fields.get("message_id"))
    if answer.status in (200, 201) and fields.get("code") == "ok" and id:
        return SendResult(Outcome.ACCEPTED, http_status=answer.status, provider_message_id=id)
    given = fields.get("code")
    vendor_form = isinstance(given, int) and fields.get("status") == "error"
    status = cast("int", given) if vendor_form and answer.status < 300 else answer.status
    text = str(fields.get("message", "")).strip().lower() if vendor_form else ""
    for beginning, code, meaning in ERRORS:
        if 400 <= status < 500 and status != 429 and text.startswith(beginning):
            return refused(answer, meaning, code)
    return refused(answer, by_status(status, vendor_form=vendor_form), f"http_{status}")


def parse_receipt(entry: Mapping[str, Any]) -> Receipt | None:
    """An inbox entry or a delivery report as a receipt; None when it is not about a sent message."""
    id, status = _id_of(entry.get("message_id")), str(entry.get("status", "")).strip().lower()
    if id is None:
        return None
    for beginning, code, translated in STATUSES:
        if status.startswith(beginning):
            failed = translated is ReceiptStatus.UNDELIVERED
            return Receipt(
                event_key=f"{id}:{code}",
                status=translated,
                provider_message_id=id,
                code=code_of(code) if failed else None,
            )
    return None


def parse_reply(entry: Mapping[str, Any]) -> Reply | None:
    """A received message as a reply; None unless it says STOP or START (developer.termii.com/incoming)."""
    id, said_by, word = (
        _id_of(entry.get("message_id")),
        number_of(entry.get("sender")),
        word_of(entry.get("message")),
    )
    # Messages to Termii's own WhatsApp devices are not for us.
    if str(entry.get("type", "")).lower() != "inbound" or entry.get("channel") == "whatsapp":
        return None
    if id is None or said_by is None or word is None:
        return None
    return Reply(Channel.SMS, said_by, word, event_key=id, said_at=_moment(entry.get("received_at")))


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def _id_of(value: object) -> str | None:
    id = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return id if MESSAGE_ID.fullmatch(id) else None


def _is_ours(entry: Mapping[str, Any], message: Message, sender_id: str) -> bool:
    return (
        _id_of(entry.get("message_id")) is not None
        and digits_of(str(entry.get("receiver", ""))) == digits_of(message.target.address)
        and str(entry.get("sender") or sender_id).strip().lower() == sender_id.lower()
        and str(entry.get("message", "")).strip() == message.content.body.strip()
    )


def _created(entry: Mapping[str, Any]) -> datetime:
    """When the message was created. One without a date is never too old."""
    try:
        created = datetime.fromisoformat(str(entry.get("created_at")))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return created.replace(tzinfo=created.tzinfo or UTC)
