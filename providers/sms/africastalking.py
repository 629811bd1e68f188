"""Africa's Talking (SMS): bulk messaging, and unsigned delivery reports.

Sources: the vendor's own clients (AfricasTalkingLtd/africastalking-python and -node.js), its
documentation of SMS notifications (developers.africastalking.com/docs/sms/notifications), and answers
recorded by its users. There is no machine-readable description.

- No idempotency key, no reference of ours, and no look-up: its `GET /messaging` lists received messages
  only. An ambiguous send stays ambiguous.
- The answer is HTTP 201 with a status code for each recipient; an unknown sender is reported as a text
  beside an empty list. Earlier errors are plain text.
- 500 and 501 for a recipient do not say whether the message reached the operator: ambiguous.
- Delivery reports are not signed. A secret of ours in the query of the callback URL protects them, and
  is checked before anything is read.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, cast
from urllib.parse import parse_qsl

from domain.notification import Channel
from domain.outcome import AddressVerdict, Match, Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply, Word, number_of, word_of
from providers.base import (
    AmbiguityResolution,
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    CodeMeaning,
    Message,
)
from providers.code_meanings import ACCEPTED, AMBIGUOUS, BAD_RECIPIENT, NOT_THIS_MESSAGE, OBJECTED, REJECTED
from providers.http import Answer, HttpProvider, RequestFailed, by_status, code_of, refused
from providers.installation import Installation
from providers.settings import AfricastalkingSettings, in_bytes

FIELDS_MAX: Final = 50

STATUS_CODES: Final[Mapping[int, tuple[str, CodeMeaning]]] = {
    100: ("processed", ACCEPTED),
    101: ("sent", ACCEPTED),
    102: ("queued", ACCEPTED),
    401: ("risk_hold", NOT_THIS_MESSAGE),
    402: ("invalid_sender_id", REJECTED),
    403: ("invalid_phone_number", BAD_RECIPIENT),
    404: ("unsupported_number_type", BAD_RECIPIENT),
    405: ("insufficient_balance", REJECTED),
    406: ("user_in_blacklist", OBJECTED),
    407: ("could_not_route", NOT_THIS_MESSAGE),  # another provider may have a route
    409: ("do_not_disturb", NOT_THIS_MESSAGE),  # Nigeria: this sender, at this hour
    500: ("internal_server_error", AMBIGUOUS),
    501: ("gateway_error", AMBIGUOUS),
    502: ("rejected_by_gateway", REJECTED),
}
"""A recipient's `statusCode`: our code for it, and what it means. Any other is read by its hundred."""

MESSAGES: Final[Mapping[str, int]] = {
    "invalidsenderid": 402,
    "invalidphonenumber": 403,
    "insufficientbalance": 405,
}
"""Texts beside an empty list of recipients, in lower case, and the equivalent status code."""

STATUSES: Final[Mapping[str, ReceiptStatus]] = {
    "sent": ReceiptStatus.SENT,
    "submitted": ReceiptStatus.SENT,
    "buffered": ReceiptStatus.SENT,
    "success": ReceiptStatus.DELIVERED,
    "rejected": ReceiptStatus.UNDELIVERED,
    "failed": ReceiptStatus.UNDELIVERED,
    "absentsubscriber": ReceiptStatus.UNDELIVERED,
    "expired": ReceiptStatus.UNDELIVERED,
}
"""Statuses of delivery reports, in lower case."""

REASONS: Final[Mapping[str, tuple[bool, AddressVerdict]]] = {
    "insufficientcredit": (False, AddressVerdict.KEEP),
    "invalidlinkid": (False, AddressVerdict.KEEP),
    "userisinactive": (True, AddressVerdict.KEEP),
    "userinblacklist": (True, AddressVerdict.SUPPRESS),
    "useraccountsuspended": (True, AddressVerdict.KEEP),
    "notnetworksubcriber": (False, AddressVerdict.KEEP),
    "notnetworksubscriber": (False, AddressVerdict.KEEP),
    "usernotsubscribedtoproduct": (False, AddressVerdict.KEEP),
    "userdoesnotexist": (True, AddressVerdict.KEEP),
    "deliveryfailure": (False, AddressVerdict.KEEP),
    "donotdisturbrejection": (False, AddressVerdict.KEEP),
}
"""Failure reasons in lower case: whether no provider could reach the number, and what to do with it.
The vendor misspells one of them, so both spellings are here."""

_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SENT_TO_NONE = re.compile(r"sent to 0/\d")


class AfricasTalking(HttpProvider):
    """SMS through Africa's Talking. The callback URL's parameter `secret` must be one of our secrets."""

    name: ClassVar[str] = "africastalking"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.SMS,
        resolves=AmbiguityResolution.NONE,
        visibility_delay_s=0,
        receipts=True,
        polls=False,
        signature="none: a secret in the callback URL",
        sandbox="the user name sandbox, on its own host",
    )

    def __init__(self, settings: AfricastalkingSettings, installation: Installation) -> None:
        self._client = installation.client(self.name, settings.base_url)
        self._username = settings.username
        self._headers = {"apiKey": settings.api_key.get_secret_value(), "Accept": "application/json"}
        self._sender_id = settings.sender_id
        self._secrets = in_bytes(settings.callback_secret, settings.callback_secret_previous)

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Africa's Talking to send one SMS."""
        answer = await self._client.request(
            "POST",
            "/version1/messaging",
            timeout_s=timeout_s,
            headers=self._headers,
            data=build_payload(message, self._username, self._sender_id),
        )
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """Nothing: sent messages cannot be looked up."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Check the URL's secret and translate one delivery report."""
        fields = self._read_callback(request)
        if "senderId" in fields or "from" in fields:
            # An opt-out, or a received message: not a report.
            return []
        if not fields.get("id") or not fields.get("status"):
            raise CallbackRefused("malformed", "the delivery report has no id or no status")
        receipt = parse_receipt(fields)
        return [receipt] if receipt else []

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Check the URL's secret; an opt-out from our sender, or a received STOP or START."""
        reply = parse_reply(self._read_callback(request))
        return [reply] if reply else []

    def _read_callback(self, request: CallbackRequest) -> dict[str, str]:
        given = request.query.get("secret", "").encode("utf-8", "replace")
        if not given:
            raise CallbackRefused("signature_missing", "the callback URL has no secret")
        if not any(hmac.compare_digest(given, secret) for secret in self._secrets):
            raise CallbackRefused("signature_wrong", "the secret in the callback URL is wrong")
        try:
            return dict(parse_qsl(request.body.decode("ascii"), max_num_fields=FIELDS_MAX))
        except ValueError as error:
            raise CallbackRefused("malformed", "the delivery report is not a form") from error


def build_payload(message: Message, username: str, sender_id: str | None) -> dict[str, str]:
    """The form of `POST /version1/messaging`, as the vendor's clients send it."""
    form = {
        "username": username,
        "to": message.target.address,
        "message": message.content.body,
        "bulkSMSMode": "1",
    }
    return form if sender_id is None else {**form, "from": sender_id}


def parse_result(answer: Answer) -> SendResult:
    """The result of a send. Only a recipient with an id was accepted."""
    data = answer.fields.get("SMSMessageData")
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else None
    if fields is None or answer.status == 429:
        # Not the vendor's own form: a success status alone proves nothing.
        return refused(answer, by_status(answer.status, vendor_form=False))
    recipients = fields.get("Recipients")
    if isinstance(recipients, list) and len(recipients) == 1 and isinstance(recipients[0], dict):
        return _recipient(answer, cast("dict[str, Any]", recipients[0]))
    text = str(fields.get("Message", "")).strip().lower()
    if recipients == [] and text in MESSAGES:
        code, meaning = STATUS_CODES[MESSAGES[text]]
        return refused(answer, meaning, code)
    if recipients == [] and _SENT_TO_NONE.match(text):
        return refused(answer, NOT_THIS_MESSAGE, "sent_to_none")
    return refused(answer, by_status(answer.status, vendor_form=True))


def _recipient(answer: Answer, recipient: Mapping[str, Any]) -> SendResult:
    status = recipient.get("statusCode")
    status = status if isinstance(status, int) and not isinstance(status, bool) else 0
    code, meaning = STATUS_CODES.get(status, (f"status_{status}", _unknown(status)))
    if meaning.outcome is not Outcome.ACCEPTED:
        return refused(answer, meaning, code)
    id = _id_of(recipient.get("messageId"))
    if id is None:
        return refused(answer, AMBIGUOUS, "answer_malformed")
    return SendResult(Outcome.ACCEPTED, http_status=answer.status, provider_message_id=id)


def _unknown(status: int) -> CodeMeaning:
    return REJECTED if 400 <= status < 500 else AMBIGUOUS


def parse_receipt(report: Mapping[str, Any]) -> Receipt | None:
    """A delivery report as a receipt; None when its status is unknown or it has no message id."""
    id, word = _id_of(report.get("id")), str(report.get("status", "")).strip().lower()
    status = STATUSES.get(word)
    if id is None or status is None:
        return None
    reason = str(report.get("failureReason", "")).strip().lower()
    permanent, address = REASONS.get(reason, (False, AddressVerdict.KEEP))
    code = f"{word}:{reason}" if reason in REASONS else word
    failed = status is ReceiptStatus.UNDELIVERED
    return Receipt(
        event_key=f"{id}:{code_of(code)}",
        status=status,
        provider_message_id=id,
        code=code_of(code) if failed else None,
        permanent=permanent and failed,
        address_verdict=address if failed else AddressVerdict.KEEP,
    )


def parse_reply(fields: Mapping[str, str]) -> Reply | None:
    """An opt-out (`senderId` and `phoneNumber`, without an id) or a received message as a reply; None unless
    it says STOP or START (developers.africastalking.com/docs/sms/notifications).
    """
    if "senderId" in fields:
        said_by = number_of(fields.get("phoneNumber"))
        return Reply(Channel.SMS, said_by, Word.STOP) if said_by else None
    said_by, word, id = number_of(fields.get("from")), word_of(fields.get("text")), _id_of(fields.get("id"))
    return Reply(Channel.SMS, said_by, word, event_key=id) if said_by and word and id else None


def _id_of(value: object) -> str | None:
    """A message id. That of a refused recipient is the word "None"."""
    id = value.strip() if isinstance(value, str) else ""
    return id if _MESSAGE_ID.fullmatch(id) and id != "None" else None
