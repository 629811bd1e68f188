"""Termii (SMS), as developer.termii.com and its users' recorded answers describe it.

- No idempotency key and no reference of ours: an ambiguous send is looked up in the account's inbox
  by recipient, text and time.
- Message ids have more digits than 64 bits hold: they are text everywhere.
- Its errors have no codes beyond the HTTP status; the known texts become codes of ours here, and an
  unknown text is never kept.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from domain.notification import Channel
from domain.outcome import Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply, number_of, word_of
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
from providers.http import Answer, NoAnswer, OverHttp, VendorClient, by_status, code_of, refused
from providers.verdicts import BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED

SETTLING_S: Final = 30.0
"""Nothing is documented about how soon the inbox has a message."""
LOOKUP_BEFORE: Final = timedelta(minutes=15)
"""How much older than the intent a message may seem. Termii writes no time zone; its country's own
(UTC+1) only makes a message seem younger."""

MESSAGE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")

ERRORS: Final[Sequence[tuple[str, str, Verdict]]] = (
    ("invalid phone number", "invalid_phone_number", BAD_RECIPIENT),
    ("invalid sender id", "invalid_sender_id", REJECTED),
    ("you are not set up on this route", "route_not_set_up", REJECTED),
    ("your account is not active", "account_not_active", REJECTED),
    ("country inactive", "country_inactive", NOT_THIS_MESSAGE),
    ("insufficient balance", "insufficient_balance", REJECTED),
)
"""Beginnings of Termii's error texts in lower case, our code for each, and what it means."""

STATUSES: Final[Sequence[tuple[str, str, ReceiptStatus]]] = (
    ("message sent", "sent", ReceiptStatus.SENT),
    ("delivered", "delivered", ReceiptStatus.DELIVERED),
    ("dnd active", "dnd_active", ReceiptStatus.UNDELIVERED),
    ("message failed", "failed", ReceiptStatus.UNDELIVERED),
    ("failed", "failed", ReceiptStatus.UNDELIVERED),
    ("rejected", "rejected", ReceiptStatus.UNDELIVERED),
    ("expired", "expired", ReceiptStatus.UNDELIVERED),
)
"""Beginnings of Termii's statuses in lower case, our code for each, and what it means."""


class Termii(OverHttp):
    """SMS through Termii. `route`: `generic`, or `dnd` for accounts that may reach do-not-disturb numbers.

    One of `webhook_secrets` signs the delivery reports; for some accounts it is the API key.
    """

    name = "termii"
    capabilities = Capabilities(
        channel=Channel.SMS,
        resolves=Resolves.LOOKUP,
        settling_s=SETTLING_S,
        receipts=True,
        polls=True,
        matches_by="recipient, text and time",
        signature="HMAC-SHA512 over the body",
    )

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        sender_id: str,
        webhook_secrets: Sequence[str],
        route: str,
        client: Callable[[str], VendorClient] = VendorClient,
    ) -> None:
        self._client = client(base_url)
        self._api_key = api_key
        self._sender_id = sender_id
        self._secrets = [secret.encode() for secret in webhook_secrets]
        self._route = route

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Termii to send one SMS."""
        body = {
            "api_key": self._api_key,
            "to": digits_of(message.target.address),
            "from": self._sender_id,
            "sms": message.content.body,
            "type": "plain",
            "channel": self._route,
        }
        answer = await self._client.request("POST", "/api/sms/send", timeout_s=timeout_s, json=body)
        return answer.result if isinstance(answer, NoAnswer) else result_of(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """The inbox's messages to this recipient with this text since shortly before the intent."""
        since = message.intended_at - LOOKUP_BEFORE
        return [
            Found(str(entry["message_id"]), certain=False, receipt=receipt_of(entry))
            for entry in await self._inbox({}, timeout_s)
            if _is(entry, message, self._sender_id) and _created(entry) >= since
        ]

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The status that Termii has for one message."""
        for entry in await self._inbox({"message_id": provider_message_id}, timeout_s):
            if str(entry.get("message_id")) == provider_message_id:
                return receipt_of(entry)
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one delivery report."""
        receipt = receipt_of(self._verified(request))
        return [receipt] if receipt else []

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify a message that somebody sent to our number; one that is STOP or START, in any spelling."""
        reply = reply_of(self._verified(request))
        return [reply] if reply else []

    def _verified(self, request: CallbackRequest) -> dict[str, Any]:
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

    async def _inbox(self, query: Mapping[str, str], timeout_s: float) -> list[dict[str, Any]]:
        answer = await self._client.request(
            "GET", "/api/sms/inbox", timeout_s=timeout_s, params={"api_key": self._api_key, **query}
        )
        if isinstance(answer, NoAnswer):
            raise LookupFailed(f"Termii could not be asked: {answer.code}")
        entries = answer.json
        if answer.status != 200 or not isinstance(entries, list):
            raise LookupFailed(f"Termii could not be asked: it answered HTTP {answer.status}")
        return [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]


def digits_of(number: str) -> str:
    """A phone number as Termii writes it: digits without the plus."""
    return "".join(character for character in number if character.isdigit())


def result_of(answer: Answer) -> SendResult:
    """What the answer to a send means. `code` is "ok" on success and the HTTP status otherwise."""
    fields = answer.fields
    id = _id_of(fields.get("message_id_str") or fields.get("message_id"))
    if answer.status in (200, 201) and fields.get("code") == "ok" and id:
        return SendResult(Outcome.ACCEPTED, http_status=answer.status, provider_message_id=id)
    said = fields.get("code")
    vendor_form = isinstance(said, int) and fields.get("status") == "error"
    status = cast("int", said) if vendor_form and answer.status < 300 else answer.status
    text = str(fields.get("message", "")).strip().lower() if vendor_form else ""
    for beginning, code, verdict in ERRORS:
        if 400 <= status < 500 and status != 429 and text.startswith(beginning):
            return refused(answer, verdict, code)
    return refused(answer, by_status(status, vendor_form=vendor_form), f"http_{status}")


def receipt_of(entry: Mapping[str, Any]) -> Receipt | None:
    """An inbox entry or a delivery report as a receipt; None when it is no status of a sent message."""
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


def reply_of(entry: Mapping[str, Any]) -> Reply | None:
    """A received message as a reply; None when it is none that counts (developer.termii.com/incoming)."""
    id, said_by, word = (
        _id_of(entry.get("message_id")),
        number_of(entry.get("sender")),
        word_of(entry.get("message")),
    )
    # Termii's own WhatsApp devices are none of our senders.
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


def _is(entry: Mapping[str, Any], message: Message, sender_id: str) -> bool:
    return (
        _id_of(entry.get("message_id")) is not None
        and digits_of(str(entry.get("receiver", ""))) == digits_of(message.target.address)
        and str(entry.get("sender") or sender_id).strip().lower() == sender_id.lower()
        and str(entry.get("message", "")).strip() == message.content.body.strip()
    )


def _created(entry: Mapping[str, Any]) -> datetime:
    """When the message was made. One that does not say is never too old."""
    try:
        created = datetime.fromisoformat(str(entry.get("created_at")))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return created.replace(tzinfo=created.tzinfo or UTC)
