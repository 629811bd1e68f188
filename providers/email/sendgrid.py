"""SendGrid v3 (email): mail send, Email Logs, Email Activity and the signed event webhook.

Sources: the OpenAPI files of twilio/sendgrid-oai (mail, logs, email activity) and the API reference
on twilio.com/docs/sendgrid. Events are translated in `sendgrid_events`.

- No idempotency key. An ambiguous send is looked up in the Email Logs (30 days, every account): by
  recipient and time, then message by message for the custom argument that carries our reference.
- The answer to a send has only the prefix of the message ids used later ("<id>.recvd-…"). We keep the
  part before the first dot everywhere.
- Polling uses Email Activity, the only API that finds a message by that prefix. It is a paid add-on;
  without it polls fail, and the event webhook is the only source of receipts.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from email.utils import parseaddr
from typing import Any, ClassVar, Final, cast
from urllib.parse import quote

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
from providers.code_meanings import BAD_RECIPIENT, NOT_THIS_MESSAGE, REJECTED
from providers.email.fields import (
    REFERENCE,
    is_one_address,
    one_sender,
    reference_in,
    subject_of,
    unsubscribing,
)
from providers.email.sendgrid_events import (
    MESSAGE_ID,
    kept_id,
    load_public_key,
    parse_activity_receipt,
    parse_logged_receipt,
    parse_receipt,
    verify_signature,
)
from providers.http import Answer, HttpProvider, RequestFailed, by_status, refused
from providers.installation import Installation
from providers.settings import SendgridSettings

VISIBILITY_DELAY_S: Final = 60.0
"""How far the logs may lag. They promise "near real time" and give no figure."""
LOOKUP_BEFORE: Final = timedelta(minutes=5)
LOOKUP_AFTER: Final = timedelta(minutes=15)
"""The window around the intent; the vendor's clock is not ours."""
LOGS_LIMIT: Final = 100
DETAILS_MAX: Final = 20


FIELDS: Final[Sequence[tuple[str, CodeMeaning]]] = (
    ("personalizations.0.to", BAD_RECIPIENT),
    ("personalizations", NOT_THIS_MESSAGE),
    ("subject", NOT_THIS_MESSAGE),
    ("content", NOT_THIS_MESSAGE),
    ("from", REJECTED),
)
"""How the field names in a 400 start. Without a known one it is read by its HTTP status."""


class SendGrid(HttpProvider):
    """Mail through SendGrid.

    Raises ValueError when a public key is not an EC key as SendGrid's settings page shows it.
    """

    name: ClassVar[str] = "sendgrid"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.EMAIL,
        resolves=AmbiguityResolution.LOOKUP,
        visibility_delay_s=VISIBILITY_DELAY_S,
        receipts=True,
        polls=True,
        matches_by="our reference (custom argument)",
        signature="ECDSA P-256 over time and body, 5 minutes",
        sandbox="mail_settings.sandbox_mode (accepts, reports nothing)",
    )

    def __init__(self, settings: SendgridSettings, installation: Installation) -> None:
        self._client = installation.client(self.name, settings.base_url)
        self._headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}
        self._from = sender_of(one_sender(settings.from_email))
        keys = (settings.webhook_public_key, settings.webhook_public_key_previous)
        self._public_keys = [load_public_key(key) for key in keys if key]

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask SendGrid to send one mail."""
        if not is_one_address(message.target.address):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="address_malformed", asked=False)
        answer = await self._client.request(
            "POST",
            "/v3/mail/send",
            timeout_s=timeout_s,
            headers=self._headers,
            json=build_payload(message, self._from),
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """The logged mails to this recipient around the intent that carry our reference.

        A mail with our subject that is logged without its custom arguments is an uncertain match.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._search(message, timeout_s)
        except TimeoutError as error:
            raise LookupFailed("SendGrid's logs timed out") from error

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """Email Activity's record of a mail. Needs the paid Email Activity history."""
        if not MESSAGE_ID.fullmatch(provider_message_id):
            raise LookupFailed("This is not one of SendGrid's message ids")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._activity(provider_message_id, timeout_s)
        except TimeoutError as error:
            raise LookupFailed("SendGrid's email activity timed out") from error

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify and translate one batch of the event webhook. Malformed events are skipped."""
        verify_signature(self._public_keys, request)
        try:
            events = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            raise CallbackRefused("malformed", "the event webhook's body is not JSON") from error
        if not isinstance(events, list):
            raise CallbackRefused("malformed", "the event webhook's body is not a list of events")
        receipts = (
            parse_receipt(cast("dict[str, Any]", event)) for event in events if isinstance(event, dict)
        )
        return [receipt for receipt in receipts if receipt is not None]

    async def _search(self, message: Message, timeout_s: float) -> list[Match]:
        subject = subject_of(message)
        summaries: dict[str, Mapping[str, Any]] = {}
        for query in log_queries(message):
            body = {"query": query, "limit": LOGS_LIMIT}
            listed = _messages(await self._query("POST", "/v3/logs", timeout_s, json=body), "sg_message_id")
            if len(listed) >= LOGS_LIMIT:
                raise LookupFailed("SendGrid has logged too many mails to this recipient to search")
            summaries.update((str(summary["sg_message_id"]), summary) for summary in listed)
        # Mails with our subject first; SendGrid may log ours in another form.
        ordered = sorted(summaries, key=lambda logged: summaries[logged].get("subject") != subject)
        found: list[Match] = []
        for sg_message_id in ordered[:DETAILS_MAX]:
            detail = await self._query("GET", f"/v3/logs/{quote(sg_message_id, safe='')}", timeout_s)
            carried = detail.get("custom_args")
            if reference_in(carried) == message.attempt_ref:
                return [
                    Match(kept_id(sg_message_id) or "", certain=True, receipt=parse_logged_receipt(detail))
                ]
            if not isinstance(carried, dict) and summaries[sg_message_id].get("subject") == subject:
                found.append(Match(kept_id(sg_message_id) or "", certain=False))
        if len(ordered) > DETAILS_MAX:
            raise LookupFailed("SendGrid has logged too many mails to this recipient to search")
        return found

    async def _activity(self, provider_message_id: str, timeout_s: float) -> Receipt | None:
        query = {"query": f"msg_id LIKE '{provider_message_id}%'", "limit": "10"}
        listed = _messages(await self._query("GET", "/v3/messages", timeout_s, params=query), "msg_id")
        # An underscore of the id is a wildcard to LIKE.
        ours = [entry for entry in listed if kept_id(entry["msg_id"]) == provider_message_id]
        if not ours:
            return None
        msg_id = str(ours[0]["msg_id"])
        detail = await self._query("GET", f"/v3/messages/{quote(msg_id, safe='')}", timeout_s)
        return parse_activity_receipt(detail, provider_message_id)

    async def _query(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        answer = await self._client.request(
            method, path, timeout_s=timeout_s, headers=self._headers, params=params, json=json
        )
        if isinstance(answer, RequestFailed):
            raise LookupFailed(f"The request to SendGrid failed: {answer.code}")
        if answer.status != 200 or not isinstance(answer.json, dict):
            raise LookupFailed(f"SendGrid answered with HTTP {answer.status}")
        return answer.fields


def sender_of(from_email: str) -> dict[str, str]:
    """A sender, perhaps written `Name <address>`, in SendGrid's form."""
    name, address = parseaddr(from_email)
    return {"email": address, "name": name} if name else {"email": address}


def build_payload(message: Message, sender: Mapping[str, str]) -> dict[str, Any]:
    """The body of `POST /v3/mail/send`: one recipient, plain text, our reference as a custom argument."""
    return {
        "personalizations": [
            {
                "to": [{"email": message.target.address}],
                "custom_args": {REFERENCE: message.attempt_ref},
            }
        ],
        "from": dict(sender),
        "subject": subject_of(message),
        "content": [{"type": "text/plain", "value": message.content.body}],
        **({"headers": headers} if (headers := unsubscribing(message)) else {}),
    }


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. Only a 202 is an acceptance (mail.v3: the only documented 2xx)."""
    if answer.status == 202:
        message_id = kept_id(answer.headers.get("x-message-id"))
        return SendResult(Outcome.ACCEPTED, http_status=202, provider_message_id=message_id)
    errors = answer.fields.get("errors")
    fields = (
        [error.get("field") for error in errors if isinstance(error, dict)]
        if isinstance(errors, list)
        else []
    )
    field = next((field for field in fields if isinstance(field, str) and field not in ("", "null")), None)
    code = f"http_{answer.status}" + (f":{field}" if field else "")
    for beginning, meaning in FIELDS if answer.status == 400 and field else ():
        if f"{field}.".startswith(f"{beginning}."):
            return refused(answer, meaning, code)
    reset, wait_s = answer.headers.get("x-ratelimit-reset", ""), None
    if answer.status == 429 and reset.isascii() and reset.isdigit():
        wait_s = float(reset[:15]) - answer.received_at.timestamp()
    return refused(answer, by_status(answer.status, vendor_form=isinstance(errors, list)), code, wait_s)


def log_queries(message: Message) -> list[str]:
    """The Email Logs queries that find every mail to this recipient around the intent.

    Queries are case-sensitive, and it is not documented how addresses are stored: both forms are searched.
    """
    address = message.target.address
    if not is_one_address(address):
        raise LookupFailed("SendGrid's logs cannot be searched for such an address")
    begin = (message.intended_at - LOOKUP_BEFORE).astimezone(UTC)
    end = (message.intended_at + LOOKUP_AFTER).astimezone(UTC)
    window = (
        f'sg_message_id_created_at >= TIMESTAMP "{begin:%Y-%m-%dT%H:%M:%SZ}"'
        f' AND sg_message_id_created_at <= TIMESTAMP "{end:%Y-%m-%dT%H:%M:%SZ}"'
    )
    return [f'to_email = "{spelling}" AND {window}' for spelling in dict.fromkeys((address, address.lower()))]


def _messages(listing: Mapping[str, Any], id_field: str) -> list[Mapping[str, Any]]:
    messages = listing.get("messages")
    if not isinstance(messages, list):
        raise LookupFailed("SendGrid's answer has no list of messages")
    entries = [cast("dict[str, Any]", entry) for entry in messages if isinstance(entry, dict)]
    return [entry for entry in entries if kept_id(entry.get(id_field))]
