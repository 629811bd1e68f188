"""Mailgun v3 (email): messages, the events API and the signed webhooks.

Sources: Mailgun's OpenAPI file (mailgun/mailgun-mcp-server) and the user manual on
documentation.mailgun.com (event polling).

- No idempotency key. Every mail is tagged with our reference, and an ambiguous send is looked up in
  the events API by that tag.
- A 5xx has been reported for mail that was sent, so every 5xx is ambiguous.
- The events API is eventually consistent. The manual considers a page of events complete once it is half
  an hour old, so a mail that is not found before that may still have been sent.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, cast
from urllib.parse import quote, urlsplit

from domain.notification import Channel
from domain.outcome import Match, Outcome, Receipt, SendResult
from providers.base import (
    AmbiguityResolution,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    LookupFailed,
    Message,
)
from providers.code_meanings import BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED
from providers.email.fields import (
    REFERENCE,
    is_one_address,
    one_sender,
    subject_of,
    unsubscribing,
)
from providers.email.mailgun_events import bare_id, carries, latest, message_id_of, parse_receipt
from providers.email.mailgun_webhooks import UsedTokens, read_callback
from providers.http import Answer, HttpProvider, RequestFailed, by_status, refused
from providers.installation import Installation
from providers.settings import MailgunSettings, in_bytes

VISIBILITY_DELAY_S: Final = 1800.0
LOOKUP_BEFORE: Final = timedelta(minutes=5)
EVENTS_MAX: Final = 300
PAGES_MAX: Final = 10

REFUSALS: Final[Sequence[tuple[str, CodeMeaning, str]]] = (
    # How the text of a 400 starts, in lower case · what it means · our code for it.
    ("to parameter is not a valid address", BAD_RECIPIENT, "to_invalid"),
    ("'to' parameter is not a valid address", BAD_RECIPIENT, "to_invalid"),
    ("from parameter", REJECTED, "from_invalid"),
    ("'from' parameter", REJECTED, "from_invalid"),
    ("need at least one of", NOT_THIS_MESSAGE, "content_missing"),
    ("only one parameters", NOT_THIS_MESSAGE, "content_twice"),
    ("send options", NOT_THIS_MESSAGE, "options_too_large"),
)

_TRY_AGAIN = re.compile(r"try again after (\d{1,9}) second", re.IGNORECASE)


class Mailgun(HttpProvider):
    """Mail through one Mailgun domain. The signing key is the account's HTTP webhook signing key."""

    name: ClassVar[str] = "mailgun"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.EMAIL,
        resolves=AmbiguityResolution.LOOKUP,
        visibility_delay_s=VISIBILITY_DELAY_S,
        receipts=True,
        polls=True,
        matches_by="our reference (tag and variable)",
        signature="HMAC-SHA256 over time and token, 20 minutes, each token once",
        sandbox="a sandbox domain, or o:testmode",
    )

    def __init__(self, settings: MailgunSettings, installation: Installation) -> None:
        self._client = installation.client(self.name, settings.base_url)
        self._auth = ("api", settings.api_key.get_secret_value())
        self._path = f"/v3/{quote(settings.domain, safe='')}"
        self._from = one_sender(settings.from_email)
        self._signing_keys = in_bytes(settings.signing_key, settings.signing_key_previous)
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
            data=build_payload(message, self._from),
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """The mails whose events carry our reference as a tag or as a variable."""
        begin = (message.intended_at - LOOKUP_BEFORE).timestamp()
        events = await self._query(
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
        return [Match(message_id, certain=True, receipt=latest(found)) for message_id, found in ours.items()]

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The event that says most about a mail; Mailgun keeps events for at least three days."""
        events = await self._query(timeout_s, {"message-id": provider_message_id})
        return latest(event for event in events if message_id_of(event) == provider_message_id)

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one webhook."""
        receipt = parse_receipt(read_callback(request, self._signing_keys, self._tokens))
        return [receipt] if receipt else []

    async def _query(self, timeout_s: float, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Every event that a query finds, over all pages."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._query_pages(timeout_s, query)
        except TimeoutError as error:
            raise LookupFailed("Mailgun's events API timed out") from error

    async def _query_pages(self, timeout_s: float, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        path, params = f"{self._path}/events", {**query, "limit": str(EVENTS_MAX)}
        found: list[Mapping[str, Any]] = []
        for _ in range(PAGES_MAX):
            answer = await self._client.request(
                "GET", path, timeout_s=timeout_s, auth=self._auth, params=params
            )
            if isinstance(answer, RequestFailed):
                raise LookupFailed(f"The request to Mailgun's events API failed: {answer.code}")
            items = answer.fields.get("items")
            if answer.status != 200 or not isinstance(items, list):
                raise LookupFailed(f"Mailgun's events API answered with HTTP {answer.status}")
            found += [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
            if len(items) < EVENTS_MAX:
                return found
            path, params = self._next_page(answer.fields), {}
        raise LookupFailed("Mailgun has too many events to search")

    def _next_page(self, listing: Mapping[str, Any]) -> str:
        """The path of the next page. Raises LookupFailed unless it is below our own."""
        paging = listing.get("paging")
        following = urlsplit(str(paging.get("next")) if isinstance(paging, dict) else "").path
        place = following.find(f"{self._path}/events/")
        if place < 0:
            raise LookupFailed("The next page of Mailgun's events is not below their own path")
        return following[place:]


def build_payload(message: Message, sender: str) -> dict[str, str]:
    """The form of `POST /v3/{domain}/messages`: one recipient, plain text, our reference twice.

    The events API can be queried by the tag; every event carries the variable back.
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


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. A 200 without an id is not Mailgun's, and proves nothing."""
    text = answer.fields.get("message")
    if answer.status == 200:
        message_id = bare_id(answer.fields.get("id"))
        if message_id:
            return SendResult(Outcome.ACCEPTED, http_status=200, provider_message_id=message_id)
        return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=200)
    error = text.strip().lower() if isinstance(text, str) else ""
    if answer.status == 400:
        for beginning, meaning, code in REFUSALS:
            if error.startswith(beginning):
                return refused(answer, meaning, code)
    again = _TRY_AGAIN.search(error) if answer.status == 429 else None
    wait_s = float(again[1]) if again else None
    return refused(answer, by_status(answer.status, vendor_form=False), wait_s=wait_s)
