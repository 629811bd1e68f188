"""Africa's Talking's bulk SMS, as its own clients and answers recorded by its users describe it.

Magic recipients: +254700000401 on risk hold · 0403 invalid number · 0404 unsupported number type · 0405
insufficient balance · 0406 on the blacklist · 0407 no route · 0409 do not disturb · 0500 internal error ·
0501 gateway error · 0502 rejected by the gateway · 0000 an empty list of recipients · 0601 accepted, then
failed as `UserDoesNotExist` · 0602 accepted, then rejected as `UserInBlackList` · 0603 accepted, then
`AbsentSubscriber`.

Delivery reports are not signed: they go to the configured callback URL, here with the secret in its query.
The control API's statuses are sent, delivered and undelivered; its `code` is a failure reason.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from aiohttp import web

from simulators.base import Outgoing, Received, Simulator
from simulators.faults import Fault

API_KEY = "simulated-africastalking-api-key"
USERNAME = "herald"
SENDER_ID = "Herald"
CALLBACK_SECRET = "simulated-africastalking-callback-secret"

REFUSED: Mapping[str, tuple[int, str]] = {
    "+254700000401": (401, "RiskHold"),
    "+254700000403": (403, "InvalidPhoneNumber"),
    "+254700000404": (404, "UnsupportedNumberType"),
    "+254700000405": (405, "InsufficientBalance"),
    "+254700000406": (406, "UserInBlacklist"),
    "+254700000407": (407, "CouldNotRoute"),
    "+254700000409": (409, "DoNotDisturbRejection"),
    "+254700000500": (500, "InternalServerError"),
    "+254700000501": (501, "GatewayError"),
    "+254700000502": (502, "RejectedByGateway"),
}
TO_NOBODY = "+254700000000"


class AfricasTalking(Simulator):
    """Mounted below `/africastalking`."""

    name = "africastalking"
    statuses: ClassVar[Mapping[str, str]] = {
        "sent": "Sent",
        "delivered": "Success",
        "undelivered": "Failed",
    }
    progress: ClassVar[Sequence[str]] = ("sent",)
    magic: ClassVar[Mapping[str, tuple[str, str | int | None]]] = {
        "+254700000601": ("Failed", "UserDoesNotExist"),
        "+254700000602": ("Rejected", "UserInBlackList"),
        "+254700000603": ("AbsentSubscriber", None),
    }

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/version1/messaging", self._send)]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__AFRICASTALKING__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}USERNAME": USERNAME,
            f"{prefix}API_KEY": API_KEY,
            f"{prefix}SENDER_ID": SENDER_ID,
            f"{prefix}CALLBACK_SECRET": CALLBACK_SECRET,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
        return web.Response(status=status, text="The request was refused", headers=headers)

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        report = {
            "id": message.id,
            "status": status,
            "phoneNumber": message.to,
            "networkCode": "99999",
            "retryCount": "0",
        }
        if status in ("Failed", "Rejected"):
            report["failureReason"] = str(code or "DeliveryFailure")
        return self._told(report)

    def incoming(self, sender: str, text: str) -> Outgoing:
        """A received message; OPT-OUT simulates the opt-out menu of alphanumeric senders."""
        if text == "OPT-OUT":
            return self._told({"senderId": SENDER_ID, "phoneNumber": sender})
        id, at = f"ATXid_{secrets.token_hex(16)}", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        message = {"date": at, "from": sender, "id": id, "text": text, "to": "12345", "networkCode": "99999"}
        return self._told({**message, "linkId": secrets.token_hex(8)})

    def _told(self, fields: Mapping[str, str]) -> Outgoing:
        return Outgoing(
            f"{self.context.callback_base}/{self.name}?secret={CALLBACK_SECRET}",
            {"Content-Type": "application/x-www-form-urlencoded"},
            urlencode(fields).encode(),
        )

    async def _send(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("apiKey") != API_KEY:
            self.refuse("", 401)
            return web.Response(status=401, text="The supplied authentication is invalid")
        form = {name: str(value) for name, value in (await request.post()).items()}
        return await self.receive(request, form.get("to", ""), lambda: self._process(form))

    def _process(self, form: Mapping[str, str]) -> web.Response | tuple[Received, web.Response]:
        to, text = form.get("to", ""), form.get("message", "")
        if form.get("username") != USERNAME:
            return web.Response(status=401, text="The supplied authentication is invalid")
        if not to or not text:
            return web.Response(status=400, text="Request is missing required form field 'message'")
        if form.get("from", SENDER_ID) != SENDER_ID:
            return self._refused(to, "InvalidSenderId", [])
        if to == TO_NOBODY:
            return self._refused(to, "Sent to 0/1 Total Cost: 0", [])
        status_code, word = REFUSED.get(to, (101, "Success"))
        if not (to.startswith("+") and to[1:].isdigit() and len(to) > 7):
            status_code, word = 403, "InvalidPhoneNumber"
        if status_code != 101:
            entry = _entry(to, status_code, word, "None", "0")
            return self._refused(to, "Sent to 0/1 Total Cost: 0", [entry])
        message = Received(id=f"ATXid_{secrets.token_hex(16)}", to=to, text=text, status="Sent")
        entry = _entry(to, status_code, word, message.id, "KES 0.8000")
        return message, _answer("Sent to 1/1 Total Cost: KES 0.8000", [entry])

    def _refused(self, to: str, message: str, recipients: Sequence[Mapping[str, Any]]) -> web.Response:
        # A refusal is HTTP 201 too.
        self.refuse(to, 201, message)
        return _answer(message, recipients)


def _entry(to: str, status_code: int, word: str, id: str, cost: str) -> dict[str, Any]:
    return {"statusCode": status_code, "number": to, "status": word, "cost": cost, "messageId": id}


def _answer(message: str, recipients: Sequence[Mapping[str, Any]]) -> web.Response:
    return web.json_response(
        {"SMSMessageData": {"Message": message, "Recipients": list(recipients)}}, status=201
    )
