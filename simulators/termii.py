"""Termii's messaging API, as its documentation and answers recorded by its users describe it.

Magic recipients: 2340000000001 invalid number · 2340000000002 country inactive · 2340000000003 no such
route · 2340000000004 accepted, then `DND Active on Phone Number` · 2340000000005 accepted, then
`Message Failed`.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web

from simulators.base import Outgoing, Received, Simulator
from simulators.faults import Fault

API_KEY = "simulated-termii-api-key"
WEBHOOK_SECRET = "simulated-termii-webhook-secret"
SENDER_ID = "Herald"

MAGIC_RECIPIENTS = {
    "2340000000001": (400, "Invalid phone number"),
    "2340000000002": (400, "Country Inactive. Contact Administrator to activate country."),
    "2340000000003": (400, "You are not set up on this route"),
}


class Termii(Simulator):
    """Mounted below `/termii`."""

    name = "termii"
    statuses: ClassVar[Mapping[str, str]] = {
        "sent": "Message Sent",
        "delivered": "DELIVERED | Message delivered to handset",
        "undelivered": "Message Failed",
    }
    progress: ClassVar[Sequence[str]] = ("sent",)
    magic: ClassVar[Mapping[str, tuple[str, str | int | None]]] = {
        "2340000000004": ("DND Active on Phone Number", None),
        "2340000000005": ("Message Failed", None),
    }

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/api/sms/send", self._send), web.get("/api/sms/inbox", self._inbox)]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__TERMII__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/termii",
            f"{prefix}API_KEY": API_KEY,
            f"{prefix}SENDER_ID": SENDER_ID,
            f"{prefix}WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
        return _error(status, str(fault.code or "The request was refused"), headers)

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        body = json.dumps(
            {
                "type": "outbound",
                "id": secrets.token_hex(12),
                "message_id": message.id,
                "receiver": message.to,
                "sender": message.vendor["from"],
                "message": message.text,
                "sent_at": f"{message.received_at:%Y-%m-%d %H:%M:%S}",
                "cost": "3.9",
                "status": status,
                "channel": message.vendor["channel"],
            }
        ).encode()
        return self._signed(body)

    def incoming(self, sender: str, text: str) -> Outgoing:
        body = json.dumps(
            {
                "type": "inbound",
                "id": secrets.token_hex(12),
                "message_id": str(secrets.randbelow(10**19)),
                "receiver": "12022214836",
                "sender": sender.lstrip("+"),
                "message": text,
                "received_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
                "cost": None,
                "command": "Received",
                "status": "Received",
                "channel": None,
            }
        ).encode()
        return self._signed(body)

    def _signed(self, body: bytes) -> Outgoing:
        signature = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha512).hexdigest()
        return Outgoing(
            f"{self.context.callback_base}/termii",
            {"Content-Type": "application/json", "X-Termii-Signature": signature},
            body,
        )

    async def _send(self, request: web.Request) -> web.StreamResponse:
        try:
            body: dict[str, Any] = await request.json()
        except ValueError:
            return _error(400, "The body is not JSON")
        if body.get("api_key") != API_KEY:
            return _error(401, "Invalid API key")
        return await self.receive(request, str(body.get("to", "")), lambda: self._process(body))

    def _process(self, body: Mapping[str, Any]) -> web.Response | tuple[Received, web.Response]:
        to, text = str(body.get("to", "")), str(body.get("sms", ""))
        if to in MAGIC_RECIPIENTS:
            return _error(*MAGIC_RECIPIENTS[to])
        if not to.isdigit():
            return _error(400, "Invalid phone number")
        if body.get("from") != SENDER_ID:
            return _error(400, "Invalid Sender Id")
        if not text or body.get("type") != "plain" or body.get("channel") not in ("generic", "dnd"):
            return _error(422, "The given data was invalid")
        message = Received(
            # Real ids have 25 digits, more than fit in 64 bits.
            id="30" + str(secrets.randbelow(10**23)).zfill(23),
            to=to,
            text=text,
            status="Message Sent",
            vendor={"from": SENDER_ID, "channel": body["channel"]},
        )
        accepted = {
            "code": "ok",
            "balance": 1047.57,
            "message_id": message.id,
            "message": "Successfully Sent",
            "message_id_str": message.id,
            "user": "Simulated",
        }
        return message, web.json_response(accepted)

    async def _inbox(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("api_key") != API_KEY:
            return _error(401, "Invalid API key")
        wanted = request.query.get("message_id")
        found = [m for m in reversed(self.messages.values()) if wanted in (None, m.id)]
        to = found[0].to if wanted and found else ""
        return await self.look_up(request, to, lambda: web.json_response([_entry(m) for m in found]))


def _entry(message: Received) -> dict[str, Any]:
    return {
        "sender": message.vendor["from"],
        "receiver": message.to,
        "message": message.text,
        "amount": 1,
        "reroute": 0,
        "status": message.status,
        "sms_type": "plain",
        "send_by": "sms",
        "media_url": None,
        "message_id": message.id,
        "notify_url": None,
        "notify_id": None,
        "created_at": f"{message.received_at:%Y-%m-%d %H:%M:%S}",
    }


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(
        {"code": status, "message": text, "status": "error"}, status=status, headers=headers
    )
