"""Twilio (SMS): Programmable Messaging, as its OpenAPI document and its SDK 9.13 describe it.

- No idempotency key and no reference of ours: an ambiguous send is looked up by recipient, text and
  time. Our reference rides in the status callback's query, so that a report proves the acceptance.
- A message that was not sent yet has no `date_sent`, so the list is not filtered by date but by
  recipient, and `date_created` is read.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from domain.notification import Channel
from domain.outcome import AddressVerdict, Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply
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
from providers.sms.twilio_replies import reply_of
from providers.verdicts import (
    BAD_RECIPIENT,
    NOT_THIS_MESSAGE,
    NOT_THIS_ONE_NOW,
    REJECTED,
    STOPPED,
    THROTTLED,
    UNAVAILABLE,
)

SETTLING_S: Final = 10.0
LOOKUP_BEFORE: Final = timedelta(minutes=15)
"""How much older than the intent a message may seem: the vendor's clock is not ours."""
PAGE_SIZE: Final = 200
PAGES_MAX: Final = 10
VALIDITY_S_MAX: Final = 36_000
CALLBACK_OVERRIDES: Final = "#ct=3000&rt=5000&rc=5&rp=all"
"""Asks Twilio to repeat a callback that was not answered; not part of what it signs."""

SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
_TRIAL_PREFIX: Final = "Sent from your Twilio trial account - "

ERRORS: Final[Mapping[int, Verdict]] = {
    20003: REJECTED,  # credentials
    20429: THROTTLED,  # too many requests, never processed
    21211: BAD_RECIPIENT,  # not a phone number
    21212: REJECTED,  # sender invalid
    21408: NOT_THIS_MESSAGE,  # no permission for the region
    21602: NOT_THIS_MESSAGE,  # no text
    21603: REJECTED,  # no sender
    21604: BAD_RECIPIENT,  # no recipient
    21606: REJECTED,  # sender not ours
    21610: STOPPED,  # answered STOP
    21611: THROTTLED,  # the sender's queue is full
    21612: NOT_THIS_MESSAGE,  # no route from this sender; another provider may have one
    21614: BAD_RECIPIENT,  # cannot receive SMS
    21617: NOT_THIS_MESSAGE,  # longer than 1600 characters
    30001: THROTTLED,  # the account's queue is full
    30002: REJECTED,  # the account is suspended
    30003: NOT_THIS_ONE_NOW,  # the handset is switched off, or out of reach
    30004: NOT_THIS_MESSAGE,  # blocked for this recipient
    30005: BAD_RECIPIENT,  # unknown number
    30006: BAD_RECIPIENT,  # a landline, or no operator that takes SMS
    30007: NOT_THIS_MESSAGE,  # filtered
    30008: UNAVAILABLE,  # failed at the operator, who does not say why
}
"""What Twilio's error codes mean, for a send and in the reports after it (30001 and above come there).
Twilio goes on splitting them: any other goes by its HTTP status, and fails for this provider alone."""

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
"""Twilio's message statuses. The two that are missing belong to received messages."""

_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


class Twilio(OverHttp):
    """SMS through Twilio. `sender`: a number, a sender name, or the SID of a messaging service (MG…).

    `public_url` is where Twilio reaches this installation: callbacks are signed over it, with the
    auth token or with one of `webhook_keys` (a SharedKey's secret, or what is being rotated out).
    """

    name = "twilio"
    capabilities = Capabilities(
        channel=Channel.SMS,
        resolves=Resolves.LOOKUP,
        settling_s=SETTLING_S,
        receipts=True,
        polls=True,
        matches_by="recipient, text and time",
        signature="HMAC-SHA1 or HMAC-SHA256 over the address and the form",
        sandbox="test credentials and magic numbers",
    )

    def __init__(
        self,
        *,
        base_url: str,
        account_sid: str,
        auth_token: str,
        sender: str,
        public_url: str,
        webhook_keys: Sequence[str] = (),
        client: Callable[[str], VendorClient] = VendorClient,
    ) -> None:
        self._client = client(base_url)
        self._auth = (account_sid, auth_token)
        self._keys = [key.encode() for key in (auth_token, *webhook_keys)]
        self._account = f"/2010-04-01/Accounts/{account_sid}"
        self._sender = sender
        self._public_url = public_url.rstrip("/")

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Twilio to send one SMS."""
        answer = await self._client.request(
            "POST",
            f"{self._account}/Messages.json",
            timeout_s=timeout_s,
            auth=self._auth,
            data=form_of(message, self._sender),
        )
        return answer.result if isinstance(answer, NoAnswer) else result_of(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """The messages to this recipient with this text since shortly before the intent.

        None of them is certain: Twilio keeps no reference of ours.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._search(message, timeout_s)
        except TimeoutError as error:
            raise LookupFailed("Twilio's list of messages did not come in time") from error

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The status that Twilio has for one message."""
        if not SID.fullmatch(provider_message_id):
            raise LookupFailed("Twilio cannot be asked about an id that is not one of its own")
        path = f"{self._account}/Messages/{provider_message_id}.json"
        return receipt_of(await self._ask(path, None, timeout_s))

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one status callback. Our reference is in the signed URL's query."""
        fields = self._verified(request)
        entry = {
            "sid": fields.get("MessageSid") or fields.get("SmsSid"),
            "status": fields.get("MessageStatus") or fields.get("SmsStatus"),
            "error_code": fields.get("ErrorCode"),
        }
        receipt = receipt_of(entry, request.query.get("ref"))
        return [receipt] if receipt else []

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify a message that somebody sent to our number; one that is STOP or START, in any spelling."""
        if b"MessageStatus=" in request.body:
            # A report on a message of ours, as most are: it was verified as that, and holds no answer.
            return []
        reply = reply_of(self._verified(request))
        return [reply] if reply else []

    async def _search(self, message: Message, timeout_s: float) -> list[Found]:
        since = message.intended_at - LOOKUP_BEFORE
        path = listing_path = f"{self._account}/Messages.json"
        params: Mapping[str, str] | None = {"To": message.target.address, "PageSize": str(PAGE_SIZE)}
        found: list[Found] = []
        for _ in range(PAGES_MAX):
            listing = await self._ask(path, params, timeout_s)
            recent = [entry for entry in _entries(listing) if _created(entry) >= since]
            found += [_found(entry) for entry in recent if _is(entry, message, self._sender)]
            path, params = str(listing.get("next_page_uri") or ""), None
            if not path or not recent:
                return found
            if not path.startswith(listing_path):
                raise LookupFailed("Twilio's list of messages goes on somewhere else")
        raise LookupFailed("Twilio has more recent messages to this recipient than can be searched")

    async def _ask(self, path: str, params: Mapping[str, str] | None, timeout_s: float) -> dict[str, Any]:
        answer = await self._client.request("GET", path, timeout_s=timeout_s, auth=self._auth, params=params)
        if isinstance(answer, NoAnswer):
            raise LookupFailed(f"Twilio could not be asked: {answer.code}")
        if answer.status != 200 or not answer.fields:
            raise LookupFailed(f"Twilio could not be asked: it answered HTTP {answer.status}")
        return answer.fields

    def _verified(self, request: CallbackRequest) -> Mapping[str, Any]:
        """The fields of a callback that Twilio signed: a form's by name, a JSON body's by its hash."""
        signature = request.headers.get("x-twilio-signature")
        if not signature:
            raise CallbackRefused("signature_missing", "the status callback has no X-Twilio-Signature")
        algorithm = algorithm_of(request.headers.get("x-twilio-webhooks-signature-settings", ""))
        if algorithm not in _DIGESTS:
            raise CallbackRefused("signature_unknown", "the status callback is signed in an unknown way")
        body_hash = request.query.get("bodySHA256")
        if body_hash is not None and "json" in request.headers.get("content-type", ""):
            given, expected = body_hash.lower().encode(), hashlib.sha256(request.body).hexdigest().encode()
            if not hmac.compare_digest(given, expected):
                raise CallbackRefused("signature_wrong", "the status callback's body was changed")
            self._verify(request, "", signature, _DIGESTS[algorithm])
            return _json_fields(request.body)
        try:
            pairs = parse_qsl(
                request.body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=200
            )
        except ValueError as error:
            raise CallbackRefused("malformed", "the status callback's body is not a form") from error
        suffix = "".join(name + value for name, value in sorted(set(pairs)))
        self._verify(request, suffix, signature, _DIGESTS[algorithm])
        return dict(pairs)

    def _verify(self, request: CallbackRequest, suffix: str, signature: str, digest: str) -> None:
        for url in spellings(self._public_url, request.url):
            for key in self._keys:
                signed = base64.b64encode(hmac.digest(key, (url + suffix).encode(), digest))
                if hmac.compare_digest(signed, signature.encode()):
                    return
        raise CallbackRefused("signature_wrong", "the status callback's signature does not match")


def form_of(message: Message, sender: str) -> dict[str, str]:
    """The form of `POST …/Messages.json`. What is left until expiry, at most ten hours, is its validity."""
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


def result_of(answer: Answer) -> SendResult:
    """What the answer to a send means. An acceptance without a message SID is ambiguous."""
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
        # RFC 9457 problems, which the SDK also reads, may come without Twilio's own code.
        vendor_form = answer.status >= 400 and "title" in fields and "status" in fields
        return refused(answer, by_status(answer.status, vendor_form=vendor_form))
    return refused(answer, ERRORS.get(code) or by_status(answer.status, vendor_form=True), code)


def _segments(value: object) -> int | None:
    """`num_segments`, a text; a messaging service says "0" while it has not chosen a sender."""
    text = str(value)
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 5 else None


def receipt_of(entry: Mapping[str, Any], attempt_ref: str | None = None) -> Receipt | None:
    """A message resource, or a callback's fields under the same names, as a receipt.

    None when it says nothing about a message that was sent.
    """
    sid, status = entry.get("sid"), str(entry.get("status", ""))
    translated = STATUSES.get(status)
    if translated is None or not isinstance(sid, str) or not SID.fullmatch(sid):
        return None
    raw = entry.get("error_code")
    code = None if raw in (None, "", 0, "0") else code_of(raw)
    verdict = _reported(code) if translated is ReceiptStatus.UNDELIVERED else None
    return Receipt(
        event_key=f"{sid}:{status}",
        status=translated,
        provider_message_id=sid,
        attempt_ref=attempt_ref,
        code=code,
        permanent=verdict is not None and verdict.outcome is Outcome.REJECTED_RECIPIENT,
        address_verdict=verdict.address if verdict else AddressVerdict.KEEP,
    )


def _reported(code: str | None) -> Verdict | None:
    """What a report's error code means. A form has it as text, a message resource as a number."""
    return ERRORS.get(int(code)) if code and code.isascii() and code.isdigit() else None


def _json_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallbackRefused("malformed", "the status callback's body is not JSON") from error
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}


def algorithm_of(settings: str) -> str:
    """The algorithm in `X-Twilio-Webhooks-Signature-Settings: key=…,algorithm=…`; HMAC_SHA1 without one."""
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return "HMAC_SHA1"


def spellings(public_url: str, url: str) -> list[str]:
    """The public URLs that Twilio may have signed for a request that came in as `url`.

    Its backend is not consistent about the port, so both forms are tried, as in its SDK.
    """
    public, came = urlsplit(public_url), urlsplit(url)
    path = came.path if came.path.startswith(public.path + "/") else public.path + came.path
    rest = path + (f"?{came.query}" if came.query else "")
    host = f"[{public.hostname}]" if ":" in (public.hostname or "") else public.hostname or ""
    port = public.port or (443 if public.scheme == "https" else 80)
    return [f"{public.scheme}://{host}{rest}", f"{public.scheme}://{host}:{port}{rest}"]


def _entries(listing: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = listing.get("messages")
    if not isinstance(entries, list):
        raise LookupFailed("Twilio answered without a list of messages")
    return [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]


def _created(entry: Mapping[str, Any]) -> datetime:
    """When the message was made. One that does not say is never too old."""
    try:
        created = parsedate_to_datetime(str(entry.get("date_created")))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return created.replace(tzinfo=created.tzinfo or UTC)


def _is(entry: Mapping[str, Any], message: Message, sender: str) -> bool:
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
    """Whether a message went out by our sender. A messaging service has no number until it chooses one."""
    service = entry.get("messaging_service_sid")
    if sender.startswith("MG"):
        return service == sender
    return service is None and entry.get("from") in (sender, None)


def _found(entry: Mapping[str, Any]) -> Found:
    return Found(str(entry["sid"]), certain=False, receipt=receipt_of(entry))
