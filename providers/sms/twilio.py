"""Twilio (SMS): Programmable Messaging, as its OpenAPI document and its SDK 9.13 describe it.

- No idempotency key and no reference of ours: an ambiguous send is looked up by recipient, text and
  time. The status callback's query carries our reference, so a report proves that the send was accepted.
- A message that was not sent yet has no `date_sent`, so the list is filtered by recipient instead of
  date, and `date_created` is read.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final, cast

from domain.notification import Channel
from domain.outcome import AddressVerdict, Match, Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply
from providers.base import (
    AmbiguityResolution,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    LookupFailed,
    Message,
)
from providers.code_meanings import (
    BAD_RECIPIENT,
    NOT_THIS_MESSAGE,
    NOT_THIS_ONE_NOW,
    REJECTED,
    STOPPED,
    THROTTLED,
    UNAVAILABLE,
)
from providers.http import Answer, HttpProvider, RequestFailed, by_status, code_of, refused
from providers.installation import Installation
from providers.settings import TwilioSettings, in_bytes
from providers.sms.twilio_callbacks import read_callback
from providers.sms.twilio_replies import parse_reply

VISIBILITY_DELAY_S: Final = 10.0
LOOKUP_BEFORE: Final = timedelta(minutes=15)
"""How much older than the intent a message may look: the vendor's clock is not ours."""
PAGE_SIZE: Final = 200
PAGES_MAX: Final = 10
VALIDITY_S_MAX: Final = 36_000
CALLBACK_OVERRIDES: Final = "#ct=3000&rt=5000&rc=5&rp=all"
"""Asks Twilio to retry a callback that got no answer; not part of what it signs."""

SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
_TRIAL_PREFIX: Final = "Sent from your Twilio trial account - "

ERRORS: Final[Mapping[int, CodeMeaning]] = {
    20003: REJECTED,  # credentials
    20429: THROTTLED,  # too many requests, never processed
    21211: BAD_RECIPIENT,  # not a phone number
    21212: REJECTED,  # sender invalid
    21408: NOT_THIS_MESSAGE,  # no permission for the region
    21602: NOT_THIS_MESSAGE,  # no text
    21603: REJECTED,  # no sender
    21604: BAD_RECIPIENT,  # no recipient
    21606: REJECTED,  # sender not ours
    21610: STOPPED,  # replied STOP
    21611: THROTTLED,  # the sender's queue is full
    21612: NOT_THIS_MESSAGE,  # no route from this sender; another provider may have one
    21614: BAD_RECIPIENT,  # cannot receive SMS
    21617: NOT_THIS_MESSAGE,  # longer than 1600 characters
    30001: THROTTLED,  # the account's queue is full
    30002: REJECTED,  # the account is suspended
    30003: NOT_THIS_ONE_NOW,  # the handset is switched off or out of reach
    30004: NOT_THIS_MESSAGE,  # blocked for this recipient
    30005: BAD_RECIPIENT,  # unknown number
    30006: BAD_RECIPIENT,  # a landline, or an operator without SMS
    30007: NOT_THIS_MESSAGE,  # filtered
    30008: UNAVAILABLE,  # failed at the operator, which does not say why
}
"""Twilio's error codes, in send responses and in status reports (30001 and above).
Twilio keeps adding more specific ones: any other is read by its HTTP status."""

STATUSES: Final[Mapping[str, ReceiptStatus]] = {
    "accepted": ReceiptStatus.QUEUED,
    "scheduled": ReceiptStatus.QUEUED,
    "queued": ReceiptStatus.QUEUED,
    "sending": ReceiptStatus.QUEUED,
    "sent": ReceiptStatus.SENT,
    "partially_delivered": ReceiptStatus.SENT,
    "delivered": ReceiptStatus.DELIVERED,
    "read": ReceiptStatus.DELIVERED,
    "undelivered": ReceiptStatus.UNDELIVERED,
    "failed": ReceiptStatus.UNDELIVERED,
    "canceled": ReceiptStatus.UNDELIVERED,
}
"""Twilio's message statuses, without the two of received messages."""


class Twilio(HttpProvider):
    """SMS through Twilio. It signs callbacks with the auth token or a SharedKey, over our public URL."""

    name: ClassVar[str] = "twilio"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.SMS,
        resolves=AmbiguityResolution.LOOKUP,
        visibility_delay_s=VISIBILITY_DELAY_S,
        receipts=True,
        polls=True,
        matches_by="recipient, text and time",
        signature="HMAC-SHA1 or HMAC-SHA256 over the URL and the form",
        sandbox="test credentials and magic numbers",
    )

    def __init__(self, settings: TwilioSettings, installation: Installation) -> None:
        self._client = installation.client(self.name, settings.base_url)
        self._auth = (settings.account_sid, settings.auth_token.get_secret_value())
        self._keys = in_bytes(
            settings.auth_token,
            settings.auth_token_previous,
            settings.shared_key,
            settings.shared_key_previous,
        )
        self._account = f"/2010-04-01/Accounts/{settings.account_sid}"
        self._sender = settings.sender
        self._public_url = installation.public_url.rstrip("/")

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Twilio to send one SMS."""
        answer = await self._client.request(
            "POST",
            f"{self._account}/Messages.json",
            timeout_s=timeout_s,
            auth=self._auth,
            data=build_payload(message, self._sender),
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """The messages to this recipient with this text since shortly before the intent.

        No match is certain: Twilio keeps no reference of ours.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._search(message, timeout_s)
        except TimeoutError as error:
            raise LookupFailed("Twilio's list of messages timed out") from error

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """Twilio's status of one message."""
        if not SID.fullmatch(provider_message_id):
            raise LookupFailed("This is not one of Twilio's message ids")
        path = f"{self._account}/Messages/{provider_message_id}.json"
        return parse_receipt(await self._query(path, None, timeout_s))

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one status callback. Our reference is in the signed URL's query."""
        fields = read_callback(request, self._keys, self._public_url)
        entry = {
            "sid": fields.get("MessageSid") or fields.get("SmsSid"),
            "status": fields.get("MessageStatus") or fields.get("SmsStatus"),
            "error_code": fields.get("ErrorCode"),
        }
        receipt = parse_receipt(entry, request.query.get("ref"))
        return [receipt] if receipt else []

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify a message to our number; returns a reply if it says STOP or START."""
        if b"MessageStatus=" in request.body:
            # A report on a message of ours, as most are: `parse_callback` verifies it, and it has no reply.
            return []
        reply = parse_reply(read_callback(request, self._keys, self._public_url))
        return [reply] if reply else []

    async def _search(self, message: Message, timeout_s: float) -> list[Match]:
        since = message.intended_at - LOOKUP_BEFORE
        path = listing_path = f"{self._account}/Messages.json"
        params: Mapping[str, str] | None = {"To": message.target.address, "PageSize": str(PAGE_SIZE)}
        found: list[Match] = []
        for _ in range(PAGES_MAX):
            listing = await self._query(path, params, timeout_s)
            recent = [entry for entry in _entries(listing) if _created(entry) >= since]
            found += [_match(entry) for entry in recent if _is_ours(entry, message, self._sender)]
            path, params = str(listing.get("next_page_uri") or ""), None
            if not path or not recent:
                return found
            if not path.startswith(listing_path):
                raise LookupFailed("The next page of Twilio's list is not below its own path")
        raise LookupFailed("Twilio has too many recent messages to this recipient to search")

    async def _query(self, path: str, params: Mapping[str, str] | None, timeout_s: float) -> dict[str, Any]:
        answer = await self._client.request("GET", path, timeout_s=timeout_s, auth=self._auth, params=params)
        if isinstance(answer, RequestFailed):
            raise LookupFailed(f"The request to Twilio failed: {answer.code}")
        if answer.status != 200 or not answer.fields:
            raise LookupFailed(f"Twilio answered with HTTP {answer.status}")
        return answer.fields


def build_payload(message: Message, sender: str) -> dict[str, str]:
    """The form of `POST …/Messages.json`. It is valid until the expiry, at most ten hours."""
    left_s = int((message.expires_at - message.intended_at).total_seconds())
    form = {
        "To": message.target.address,
        ("MessagingServiceSid" if sender.startswith("MG") else "From"): sender,
        "Body": message.content.body,
        "ValidityPeriod": str(min(max(left_s, 1), VALIDITY_S_MAX)),
    }
    if message.callback_url:
        form["StatusCallback"] = message.callback_url + CALLBACK_OVERRIDES
    return form


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. An acceptance without a message SID is ambiguous."""
    fields = answer.fields
    sid = fields.get("sid")
    if answer.status in (200, 201) and isinstance(sid, str) and SID.fullmatch(sid):
        return SendResult(
            Outcome.ACCEPTED,
            http_status=answer.status,
            provider_message_id=sid,
            segments=_segments(fields.get("num_segments")),
        )
    code = fields.get("code")
    if not isinstance(code, int) or answer.status < 400:
        # RFC 9457 problems, which the SDK reads as well, may lack Twilio's own code.
        vendor_form = answer.status >= 400 and "title" in fields and "status" in fields
        return refused(answer, by_status(answer.status, vendor_form=vendor_form))
    return refused(answer, ERRORS.get(code) or by_status(answer.status, vendor_form=True), code)


def _segments(value: object) -> int | None:
    """`num_segments`, a string; "0" until a messaging service has chosen a sender."""
    text = str(value)
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 5 else None


def parse_receipt(entry: Mapping[str, Any], attempt_ref: str | None = None) -> Receipt | None:
    """A message resource, or a callback's fields under the same names, as a receipt.

    None when it is not about a message that we sent.
    """
    sid, status = entry.get("sid"), str(entry.get("status", ""))
    translated = STATUSES.get(status)
    if translated is None or not isinstance(sid, str) or not SID.fullmatch(sid):
        return None
    raw = entry.get("error_code")
    code = None if raw in (None, "", 0, "0") else code_of(raw)
    meaning = _reported(code) if translated is ReceiptStatus.UNDELIVERED else None
    return Receipt(
        event_key=f"{sid}:{status}",
        status=translated,
        provider_message_id=sid,
        attempt_ref=attempt_ref,
        code=code,
        permanent=meaning is not None and meaning.outcome is Outcome.REJECTED_RECIPIENT,
        address_verdict=meaning.address if meaning else AddressVerdict.KEEP,
    )


def _reported(code: str | None) -> CodeMeaning | None:
    """What a report's error code means. It is a string in a form, a number in a message resource."""
    return ERRORS.get(int(code)) if code and code.isascii() and code.isdigit() else None


def _entries(listing: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = listing.get("messages")
    if not isinstance(entries, list):
        raise LookupFailed("Twilio's answer has no list of messages")
    return [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]


def _created(entry: Mapping[str, Any]) -> datetime:
    """When the message was created. One without a date is never too old."""
    try:
        created = parsedate_to_datetime(str(entry.get("date_created")))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return created.replace(tzinfo=created.tzinfo or UTC)


def _is_ours(entry: Mapping[str, Any], message: Message, sender: str) -> bool:
    text, body = message.content.body.strip(), str(entry.get("body", "")).strip()
    sid = entry.get("sid")
    return (
        isinstance(sid, str)
        and SID.fullmatch(sid) is not None
        and not str(entry.get("direction", "")).startswith("inbound")
        and _is_from(entry, sender)
        and body in (text, _TRIAL_PREFIX + text)
    )


def _is_from(entry: Mapping[str, Any], sender: str) -> bool:
    """Whether a message is from our sender. A messaging service has no number until it chooses one."""
    service = entry.get("messaging_service_sid")
    if sender.startswith("MG"):
        return service == sender
    return service is None and entry.get("from") in (sender, None)


def _match(entry: Mapping[str, Any]) -> Match:
    return Match(str(entry["sid"]), certain=False, receipt=parse_receipt(entry))
