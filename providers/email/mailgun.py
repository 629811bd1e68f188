"""Mailgun v3 (email): messages, the events API and the signed webhooks.

Sources: Mailgun's OpenAPI file (mailgun/mailgun-mcp-server) and the user manual on
documentation.mailgun.com (event polling, event structure, webhooks, webhook retries).

- No idempotency key. Every mail is tagged with our reference, and an ambiguous send is looked up in
  the events API by that tag.
- A 5xx has been reported for mail that was sent: each of them is ambiguous.
- The events API is eventually consistent. The manual trusts a page of events only once it is half an
  hour old, so a mail that is not found before that may still have been sent.
- A webhook's signature does not cover the event, only a timestamp and a token. Its age bounds how
  long a caught one can be used, and its token is good for one event only (`UsedTokens`).
"""

import asyncio
import hashlib
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from domain.notification import Channel
from domain.outcome import Outcome, Receipt, SendResult, advance
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
from providers.http import (
    Answer,
    NoAnswer,
    OverHttp,
    VendorClient,
    by_status,
    code_of,
    refused,
)
from providers.verdicts import BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED

SIGNATURE_AGE_S_MAX: Final = 1200
"""Mailgun repeats a refused webhook after 5, then 10 minutes, and does not say that it signs again."""
SETTLING_S: Final = 1800.0
LOOKUP_BEFORE: Final = timedelta(minutes=5)
EVENTS_MAX: Final = 300
PAGES_MAX: Final = 10
TOKENS_MAX: Final = 200_000
"""So many tokens of webhooks are remembered: 80 a second for as long as each could be used."""

EVENTS: Final[Mapping[str, Meaning]] = {
    "accepted": QUEUED,
    "rejected": FAILED_HERE,
    "delivered": DELIVERED,
    "opened": DELIVERED,
    "clicked": DELIVERED,
    "unsubscribed": OBJECTED,
    "complained": OBJECTED,
}
"""Mailgun's event types, beside `failed` (`REASONS`). What is not listed says nothing about a message of
ours."""

REASONS: Final[Mapping[str, Meaning]] = {
    "bounce": BAD_ADDRESS,
    "hardfail": BAD_ADDRESS,
    "suppress-bounce": BAD_ADDRESS,
    "suppress-complaint": BAD_ADDRESS,
    "suppress-unsubscribe": BAD_ADDRESS,
    "espblock": FAILED_HERE,
    "generic": FAILED_HERE,
    "greylisted": FAILED_HERE,
    "old": FAILED_HERE,
}
"""Why a mail failed for good. A reason that is not listed is not kept, and says nothing of the address."""

REFUSALS: Final[Sequence[tuple[str, Verdict, str]]] = (
    # The beginning of a 400's text, in lower case · what it means · our code for it.
    ("to parameter is not a valid address", BAD_RECIPIENT, "to_invalid"),
    ("'to' parameter is not a valid address", BAD_RECIPIENT, "to_invalid"),
    ("from parameter", REJECTED, "from_invalid"),
    ("'from' parameter", REJECTED, "from_invalid"),
    ("need at least one of", NOT_THIS_MESSAGE, "content_missing"),
    ("only one parameters", NOT_THIS_MESSAGE, "content_twice"),
    ("send options", NOT_THIS_MESSAGE, "options_too_large"),
)

_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,512}")
_TRY_AGAIN = re.compile(r"try again after (\d{1,9}) second", re.IGNORECASE)


class Mailgun(OverHttp):
    """Mail through one Mailgun domain. `signing_keys` are the account's HTTP webhook signing keys."""

    name = "mailgun"
    capabilities = Capabilities(
        channel=Channel.EMAIL,
        resolves=Resolves.LOOKUP,
        settling_s=SETTLING_S,
        receipts=True,
        polls=True,
        matches_by="our reference (tag and variable)",
        signature="HMAC-SHA256 over time and token, 20 minutes, each token once",
        sandbox="a sandbox domain, or o:testmode",
    )

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        domain: str,
        from_email: str,
        signing_keys: Sequence[str],
        client: Callable[[str], VendorClient] = VendorClient,
    ) -> None:
        self._client = client(base_url)
        self._auth = ("api", api_key)
        self._path = f"/v3/{quote(domain, safe='')}"
        self._from = one_sender(from_email)
        self._signing_keys = [key.encode() for key in signing_keys]
        self._tokens = UsedTokens()

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Mailgun to send one mail."""
        if not is_one_address(message.target.address):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="address_malformed", asked=False)
        answer = await self._client.request(
            "POST",
            f"{self._path}/messages",
            timeout_s=timeout_s,
            auth=self._auth,
            data=payload_of(message, self._from),
        )
        return answer.result if isinstance(answer, NoAnswer) else result_of(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """The mails whose events carry our reference as a tag or as a variable."""
        begin = (message.intended_at - LOOKUP_BEFORE).timestamp()
        events = await self._events(
            timeout_s,
            {
                "recipient": message.target.address,
                "tags": message.attempt_ref,
                "begin": str(int(begin)),
                "ascending": "yes",
            },
        )
        ours: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            message_id = message_id_of(event)
            if message_id and carries(event, message.attempt_ref):
                ours.setdefault(message_id, []).append(event)
        return [Found(id, certain=True, receipt=latest(events)) for id, events in ours.items()]

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The most telling of a mail's events; Mailgun keeps them for three days at least."""
        events = await self._events(timeout_s, {"message-id": provider_message_id})
        return latest(event for event in events if message_id_of(event) == provider_message_id)

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one webhook."""
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the webhook's body is not JSON") from error
        fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        token = verify(self._signing_keys, fields.get("signature"), request.now)
        event = fields.get("event-data")
        if not isinstance(event, dict):
            raise CallbackRefused("malformed", "the webhook has no event-data")
        self._tokens.use(token, event, request.now)
        receipt = receipt_of(cast("dict[str, Any]", event))
        return [receipt] if receipt else []

    async def _events(self, timeout_s: float, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Every event that a query finds, page by page."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._pages(timeout_s, query)
        except TimeoutError as error:
            raise LookupFailed("Mailgun's events did not come in time") from error

    async def _pages(self, timeout_s: float, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        path, params = f"{self._path}/events", {**query, "limit": str(EVENTS_MAX)}
        found: list[Mapping[str, Any]] = []
        for _ in range(PAGES_MAX):
            answer = await self._client.request(
                "GET", path, timeout_s=timeout_s, auth=self._auth, params=params
            )
            if isinstance(answer, NoAnswer):
                raise LookupFailed(f"Mailgun's events could not be asked: {answer.code}")
            items = answer.fields.get("items")
            if answer.status != 200 or not isinstance(items, list):
                raise LookupFailed(f"Mailgun's events could not be asked: it answered HTTP {answer.status}")
            found += [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
            if len(items) < EVENTS_MAX:
                return found
            path, params = self._next_page(answer.fields), {}
        raise LookupFailed("Mailgun has more events than can be searched")

    def _next_page(self, listing: Mapping[str, Any]) -> str:
        """Where a full page goes on, below our own address. Raises LookupFailed for anywhere else."""
        paging = listing.get("paging")
        following = urlsplit(str(paging.get("next")) if isinstance(paging, dict) else "").path
        place = following.find(f"{self._path}/events/")
        if place < 0:
            raise LookupFailed("Mailgun's events go on somewhere else")
        return following[place:]


def payload_of(message: Message, sender: str) -> dict[str, str]:
    """The form of `POST /v3/{domain}/messages`: one recipient, plain text, our reference twice.

    The tag is what the events API can be asked by; the variable is what every event carries back.
    """
    return {
        "from": sender,
        "to": message.target.address,
        "subject": subject_of(message),
        "text": message.content.body,
        "o:tag": message.attempt_ref,
        f"v:{REFERENCE}": message.attempt_ref,
        **{f"h:{name}": value for name, value in unsubscribing(message).items()},
    }


def result_of(answer: Answer) -> SendResult:
    """What the answer to a send means. A 200 without an id is not Mailgun's and proves nothing."""
    text = answer.fields.get("message")
    if answer.status == 200:
        id = bare_id(answer.fields.get("id"))
        if id:
            return SendResult(Outcome.ACCEPTED, http_status=200, provider_message_id=id)
        return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=200)
    said = text.strip().lower() if isinstance(text, str) else ""
    if answer.status == 400:
        for beginning, verdict, code in REFUSALS:
            if said.startswith(beginning):
                return refused(answer, verdict, code)
    again = _TRY_AGAIN.search(said) if answer.status == 429 else None
    wait_s = float(again[1]) if again else None
    return refused(answer, by_status(answer.status, vendor_form=False), wait_s=wait_s)


def bare_id(vendor_id: object) -> str | None:
    """A message id as events carry it: without angle brackets."""
    id = vendor_id.strip().strip("<>") if isinstance(vendor_id, str) else ""
    return id if _MESSAGE_ID.fullmatch(id) else None


def message_id_of(event: Mapping[str, Any]) -> str | None:
    """The id of the message that an event is about."""
    message = event.get("message")
    headers = message.get("headers") if isinstance(message, dict) else None
    return bare_id(headers.get("message-id")) if isinstance(headers, dict) else None


def carries(event: Mapping[str, Any], ref: str) -> bool:
    """Whether an event carries our reference."""
    tags = event.get("tags")
    return reference_in(event.get("user-variables")) == ref or (isinstance(tags, list) and ref in tags)


def latest(events: Iterable[Mapping[str, Any]]) -> Receipt | None:
    """The most telling of one message's events as a receipt; of two alike, the one that came first."""
    best: Receipt | None = None
    for event in events:
        receipt = receipt_of(event)
        if receipt and (best is None or advance(best.status, receipt.status) is not best.status):
            best = receipt
    return best


def receipt_of(event: Mapping[str, Any]) -> Receipt | None:
    """One event as a receipt, None when it says nothing about a message of ours."""
    name = str(event.get("event"))
    means, code = _failure(event) if name == "failed" else (EVENTS.get(name), name)
    if means is None:
        return None
    message_id = message_id_of(event)
    id, at = event.get("id"), event.get("timestamp")
    at_s = at if isinstance(at, int | float) and 0 < at < 1 << 33 else None
    return Receipt(
        event_key=event_key_of(id) if id else event_key_of(message_id, code, at),
        status=means.status,
        provider_message_id=message_id,
        attempt_ref=reference_in(event.get("user-variables")),
        code=code_of(code),
        permanent=means.permanent,
        address_verdict=means.address,
        occurred_at=None if at_s is None else datetime.fromtimestamp(at_s, UTC),
    )


def _failure(event: Mapping[str, Any]) -> tuple[Meaning, str]:
    severity = "permanent" if event.get("severity") == "permanent" else "temporary"
    reason = str(event.get("reason"))
    status = event.get("delivery-status")
    bounce_type = status.get("bounce-type") if isinstance(status, dict) else None
    code = f"failed:{severity}" + (f":{reason}" if reason in REASONS else "")
    if severity == "temporary":
        # Mailgun goes on trying by itself, for up to eight hours.
        return QUEUED, code
    if bounce_type == "soft":
        return FAILED_HERE, code
    return REASONS.get(reason, FAILED_HERE), code


class UsedTokens:
    """The tokens of the webhooks that were taken lately, each with what it came with.

    The signature covers only timestamp and token: whoever caught one could sign any event with it. The
    same event again is Mailgun's repetition of a webhook that it saw no answer to, and is taken. Each
    process of the API has its own: one that was caught can be used once in each of the others.
    """

    def __init__(self) -> None:
        self._used: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def use(self, token: str, event: object, now: datetime) -> None:
        """Take the token for this event. Raises CallbackRefused when it came with another one before."""
        at_s = now.timestamp()
        while self._used:
            oldest, (_, used_s) = next(iter(self._used.items()))
            if at_s - used_s <= 2 * SIGNATURE_AGE_S_MAX and len(self._used) < TOKENS_MAX:
                break
            del self._used[oldest]
        digest = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).digest()
        if self._used.setdefault(token, (digest, at_s))[0] != digest:
            raise CallbackRefused("token_used", "the webhook's token came with another event before")


def verify(signing_keys: Sequence[bytes], signature: object, now: datetime) -> str:
    """The token of a webhook that Mailgun signed with one of the keys, lately. Raises CallbackRefused."""
    parts: Mapping[str, Any] = cast("dict[str, Any]", signature) if isinstance(signature, dict) else {}
    timestamp, token, given = (parts.get(name) for name in ("timestamp", "token", "signature"))
    if isinstance(timestamp, int):
        timestamp = str(timestamp)
    if not (isinstance(timestamp, str) and isinstance(token, str) and isinstance(given, str)):
        raise CallbackRefused("signature_missing", "the webhook is not signed")
    signed = (timestamp + token).encode("utf-8", "replace")
    expected = [hmac.new(key, signed, "sha256").hexdigest().encode() for key in signing_keys]
    if not any(hmac.compare_digest(one, given.encode("utf-8", "replace")) for one in expected):
        raise CallbackRefused("signature_wrong", "the webhook's signature does not match")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise CallbackRefused("malformed", "the webhook's timestamp is not a number")
    if abs(now.timestamp() - int(timestamp)) > SIGNATURE_AGE_S_MAX:
        raise CallbackRefused("too_old", "the webhook was signed too long ago, or in the future")
    return token
