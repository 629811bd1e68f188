"""Africa's Talking (SMS): bulk messaging, and delivery reports that nobody signs.

Sources: the vendor's own clients (AfricasTalkingLtd/africastalking-python and -node.js), its
documentation of SMS notifications (developers.africastalking.com/docs/sms/notifications), and answers
recorded by users' clients. There is no machine-readable description.

- No idempotency key, no reference of ours, and no look-up: its `GET /messaging` lists received messages
  only. What is ambiguous stays so.
- The answer is HTTP 201 with a status code for each recipient; a sender that is not known comes as a
  text beside an empty list. Errors before that are plain text.
- 500 and 501 for a recipient do not say whether the message went on to the operator: ambiguous.
- Delivery reports are not signed. What protects them is a secret of ours in the query of the address
  that they are sent to, so it is checked before anything is read.
"""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from domain.notification import Channel
from domain.outcome import AddressVerdict, Outcome, Receipt, ReceiptStatus, SendResult
from domain.replies import Reply, Word, number_of, word_of
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
from providers.verdicts import ACCEPTED, AMBIGUOUS, BAD_RECIPIENT, NOT_THIS_MESSAGE, OBJECTED, REJECTED

FIELDS_MAX: Final = 50

STATUS_CODES: Final[Mapping[int, tuple[str, Verdict]]] = {
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
"""A recipient's `statusCode`: our code for it, and what it means. Any other goes by its hundred."""

MESSAGES: Final[Mapping[str, int]] = {
    "invalidsenderid": 402,
    "invalidphonenumber": 403,
    "insufficientbalance": 405,
}
"""Texts beside an empty list of recipients, in lower case, and the status code that they stand for."""

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
"""Failure reasons in lower case: whether no provider would reach the number, and what becomes of it.
The vendor writes one of them without its second `s`."""

_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SENT_TO_NONE = re.compile(r"sent to 0/\d")


class AfricasTalking(OverHttp):
    """SMS through Africa's Talking. `sender_id`: None is the account's default sender.

    One of `callback_secrets` is the parameter `secret` of the address that delivery reports are sent to.
    """

    name = "africastalking"
    capabilities = Capabilities(
        channel=Channel.SMS,
        resolves=Resolves.NONE,
        settling_s=0,
        receipts=True,
        polls=False,
        signature="none: a secret in the callback's address",
        sandbox="the user name sandbox, at a host of its own",
    )

    def __init__(
        self,
        *,
        base_url: str,
        username: str,
        api_key: str,
        sender_id: str | None,
        callback_secrets: Sequence[str],
        client: Callable[[str], VendorClient] = VendorClient,
    ) -> None:
        self._client = client(base_url)
        self._username = username
        self._headers = {"apiKey": api_key, "Accept": "application/json"}
        self._sender_id = sender_id
        self._secrets = [secret.encode() for secret in callback_secrets]

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask Africa's Talking to send one SMS."""
        answer = await self._client.request(
            "POST",
            "/version1/messaging",
            timeout_s=timeout_s,
            headers=self._headers,
            data=form_of(message, self._username, self._sender_id),
        )
        return answer.result if isinstance(answer, NoAnswer) else result_of(answer)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """Nothing: there is no look-up of sent messages."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Check the address's secret and translate one delivery report."""
        fields = self._believed(request)
        if "senderId" in fields or "from" in fields:
            # An opt-out, or a message that somebody sent: no report.
            return []
        if not fields.get("id") or not fields.get("status"):
            raise CallbackRefused("malformed", "the delivery report has no id or no status")
        receipt = receipt_of(fields)
        return [receipt] if receipt else []

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Check the address's secret; an opt-out from our sender, or a received STOP or START."""
        reply = reply_of(self._believed(request))
        return [reply] if reply else []

    def _believed(self, request: CallbackRequest) -> dict[str, str]:
        given = request.query.get("secret", "").encode("utf-8", "replace")
        if not given:
            raise CallbackRefused("signature_missing", "the delivery report's address has no secret")
        if not any(hmac.compare_digest(given, secret) for secret in self._secrets):
            raise CallbackRefused("signature_wrong", "the secret of the delivery report's address is wrong")
        try:
            return dict(parse_qsl(request.body.decode("ascii"), max_num_fields=FIELDS_MAX))
        except ValueError as error:
            raise CallbackRefused("malformed", "the delivery report is not a form") from error


def form_of(message: Message, username: str, sender_id: str | None) -> dict[str, str]:
    """The form of `POST /version1/messaging`, as the vendor's clients send it."""
    form = {
        "username": username,
        "to": message.target.address,
        "message": message.content.body,
        "bulkSMSMode": "1",
    }
    return form if sender_id is None else {**form, "from": sender_id}


def result_of(answer: Answer) -> SendResult:
    """What the answer to a send means. Only a recipient with an id was accepted."""
    data = answer.fields.get("SMSMessageData")
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else None
    if fields is None or answer.status == 429:
        # Not the vendor's form: a success without it proves nothing.
        return refused(answer, by_status(answer.status, vendor_form=False))
    recipients = fields.get("Recipients")
    if isinstance(recipients, list) and len(recipients) == 1 and isinstance(recipients[0], dict):
        return _recipient(answer, cast("dict[str, Any]", recipients[0]))
    said = str(fields.get("Message", "")).strip().lower()
    if recipients == [] and said in MESSAGES:
        code, verdict = STATUS_CODES[MESSAGES[said]]
        return refused(answer, verdict, code)
    if recipients == [] and _SENT_TO_NONE.match(said):
        return refused(answer, NOT_THIS_MESSAGE, "sent_to_none")
    return refused(answer, by_status(answer.status, vendor_form=True))


def _recipient(answer: Answer, recipient: Mapping[str, Any]) -> SendResult:
    status = recipient.get("statusCode")
    status = status if isinstance(status, int) and not isinstance(status, bool) else 0
    code, verdict = STATUS_CODES.get(status, (f"status_{status}", _unknown(status)))
    if verdict.outcome is not Outcome.ACCEPTED:
        return refused(answer, verdict, code)
    id = _id_of(recipient.get("messageId"))
    if id is None:
        return refused(answer, AMBIGUOUS, "answer_malformed")
    return SendResult(Outcome.ACCEPTED, http_status=answer.status, provider_message_id=id)


def _unknown(status: int) -> Verdict:
    return REJECTED if 400 <= status < 500 else AMBIGUOUS


def receipt_of(report: Mapping[str, Any]) -> Receipt | None:
    """A delivery report as a receipt; None when its status is unknown or it names no message."""
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


def reply_of(fields: Mapping[str, str]) -> Reply | None:
    """An opt-out (`senderId` and `phoneNumber`, without an id) or a received message as a reply; None when it
    is none that counts (developers.africastalking.com/docs/sms/notifications).
    """
    if "senderId" in fields:
        said_by = number_of(fields.get("phoneNumber"))
        return Reply(Channel.SMS, said_by, Word.STOP) if said_by else None
    said_by, word, id = number_of(fields.get("from")), word_of(fields.get("text")), _id_of(fields.get("id"))
    return Reply(Channel.SMS, said_by, word, event_key=id) if said_by and word and id else None


def _id_of(value: object) -> str | None:
    """A message id. A refused recipient has the word "None" for one."""
    id = value.strip() if isinstance(value, str) else ""
    return id if _MESSAGE_ID.fullmatch(id) and id != "None" else None
