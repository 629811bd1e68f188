"""A simulated WhatsApp Cloud API: messages by text and template, and signed status webhooks.

The last four digits of a number decide, in every country. For accepted messages, a callback plan of the
control API for the recipient takes precedence:

    …9926  refused with 131026, not on WhatsApp        …9947  text is refused with 131047: no open window
    …9956  refused with 131056, pair rate limit        …9930  refused with 131030, not on the allowed list
    …9849  accepted, then failed with 131049           …9826  accepted, then failed with 131026
    …9800  accepted, sent, and nothing after that

Anything else is accepted, sent, delivered. Templates are `otp_code` (an authentication template, with its
button), `debit_alert` (two parameters) and `hello_world` (none), in `en`; others are refused with 132001,
and another number of parameters with 132000.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aiohttp import web

from simulators.base import Outgoing, Received, Simulator
from simulators.faults import CallbackPlan, Fault

VERSION = "v23.0"
PHONE_NUMBER_ID = "106540352242922"
ACCESS_TOKEN = "simulated-whatsapp-token"
APP_SECRET = "simulated-app-secret"
VERIFY_TOKEN = "simulated-verify-token"
TEXT_CHARS_MAX = 4096
REFERENCE_CHARS_MAX = 512

TEMPLATES: Mapping[str, tuple[int, bool]] = {
    "otp_code": (1, True),
    "debit_alert": (2, False),
    "hello_world": (0, False),
}
"""Each template's number of parameters, and whether it has a copy-code button."""

REFUSED: Mapping[str, tuple[int, int, str]] = {
    "9926": (400, 131026, "Message undeliverable"),
    "9956": (400, 131056, "Pair rate limit hit"),
    "9930": (400, 131030, "Recipient phone number not in allowed list"),
}
FAILED: Mapping[str, int] = {"9849": 131049, "9826": 131026}
SILENT = "9800"
CLOSED_WINDOW = "9947"
CODES: Mapping[int, int] = {400: 100, 401: 190, 403: 10, 404: 100, 429: 130429, 500: 131000, 503: 2}
"""The code of each HTTP status, unless a fault has its own."""


def problem(status: int, code: int, message: str = "The request was refused.") -> web.Response:
    """The Graph API's error form."""
    error = {
        "message": f"(#{code}) {message}",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": message},
        "fbtrace_id": secrets.token_urlsafe(12),
    }
    return web.json_response({"error": error}, status=status)


def signed(body: bytes) -> dict[str, str]:
    """The headers of a webhook with this body."""
    digest = hmac.digest(APP_SECRET.encode(), body, hashlib.sha256).hex()
    return {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={digest}"}


def webhook(*entries: Mapping[str, Any], what: str = "statuses") -> bytes:
    """A webhook's body with these statuses, or these `messages`."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": PHONE_NUMBER_ID},
        what: list(entries),
    }
    entry = {"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


class WhatsAppCloud(Simulator):
    """Mounted below `/whatsapp_cloud`."""

    name = "whatsapp_cloud"
    statuses: ClassVar[Mapping[str, str]] = {"undelivered": "failed"}
    progress: ClassVar[Sequence[str]] = ("sent",)

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/{version}/{number}/messages", self._send)]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__WHATSAPP_CLOUD__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}PHONE_NUMBER_ID": PHONE_NUMBER_ID,
            f"{prefix}ACCESS_TOKEN": ACCESS_TOKEN,
            f"{prefix}APP_SECRET": APP_SECRET,
            f"{prefix}VERIFY_TOKEN": VERIFY_TOKEN,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        return problem(status, int(fault.code or CODES.get(status, 1)))

    def plan_of(self, to: str) -> CallbackPlan | None:
        """The final status and code of a message to a magic number."""
        ending = to[-4:]
        if ending in FAILED:
            return CallbackPlan(to, final="failed", code=FAILED[ending])
        return CallbackPlan(to, final="sent") if ending == SILENT else None

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        fields: dict[str, Any] = {
            "id": message.id,
            "status": status,
            "timestamp": str(int(time.time())),
            "recipient_id": message.to.lstrip("+"),
            "biz_opaque_callback_data": message.ref,
        }
        if status == "failed":
            failed = int(code or 131026)
            fields["errors"] = [
                {
                    "code": failed,
                    "title": "Message undeliverable",
                    "error_data": {"details": f"To {message.to}"},
                }
            ]
        body = webhook({name: value for name, value in fields.items() if value is not None})
        return Outgoing(f"{self.context.callback_base}/{self.name}", signed(body), body)

    def incoming(self, sender: str, text: str) -> Outgoing:
        message = {
            "from": sender.lstrip("+"),
            "id": "wamid." + base64.b64encode(secrets.token_bytes(36)).decode(),
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": text},
        }
        body = webhook(message, what="messages")
        return Outgoing(f"{self.context.callback_base}/{self.name}", signed(body), body)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {ACCESS_TOKEN}":
            self.refuse("", 401, 190)
            return problem(401, 190, "Access token has expired")
        if request.match_info["version"] != VERSION or request.match_info["number"] != PHONE_NUMBER_ID:
            return problem(400, 100, "Object does not exist")
        try:
            body: dict[str, Any] = json.loads(await request.read())
            to = str(body["to"])
        except (ValueError, KeyError, TypeError):
            return problem(400, 100, "Invalid parameter")
        if (plan := self.plan_of(to)) and self.plans.of(to) == CallbackPlan():
            self.plans.put(plan)
        return await self.receive(request, to, lambda: self._process(body, to))

    def _process(self, body: Mapping[str, Any], to: str) -> web.Response | tuple[Received, web.Response]:
        if to[-4:] in REFUSED:
            return problem(*REFUSED[to[-4:]])
        ref = body.get("biz_opaque_callback_data")
        if body.get("messaging_product") != "whatsapp" or len(ref or "") > REFERENCE_CHARS_MAX:
            return problem(400, 100, "Invalid parameter")
        text = _said(body, to)
        if isinstance(text, web.Response):
            return text
        message = Received(
            id="wamid." + base64.b64encode(secrets.token_bytes(36)).decode(),
            to=to,
            text=text,
            ref=ref,
            status="accepted",
            vendor={"template": body.get("template")},
        )
        answer = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": to, "wa_id": to.lstrip("+")}],
            "messages": [{"id": message.id, "message_status": "accepted"}],
        }
        return message, web.json_response(answer)


def _said(body: Mapping[str, Any], to: str) -> str | web.Response:
    """What the recipient reads: the text, or the template's parameters."""
    if body.get("type") == "text":
        text = str(body["text"].get("body", ""))
        if not 0 < len(text) <= TEXT_CHARS_MAX:
            return problem(400, 100, "Param text['body'] must be at most 4096 characters long.")
        if to[-4:] == CLOSED_WINDOW:
            return problem(400, 131047, "More than 24 hours have passed since the recipient last replied.")
        return text
    if body.get("type") != "template":
        return problem(400, 131051, "Unsupported message type")
    template = body["template"]
    known = TEMPLATES.get(template["name"])
    if known is None or template["language"] != {"policy": "deterministic", "code": "en"}:
        return problem(404, 132001, "Template name does not exist in the translation")
    components = {part["type"]: part["parameters"] for part in template.get("components", [])}
    texts = [str(parameter["text"]) for parameter in components.get("body", [])]
    count, button = known
    if len(texts) != count or ("button" in components) is not button:
        return problem(400, 132000, "Number of parameters does not match the expected number of params")
    if any("\n" in text or "    " in text for text in texts):
        return problem(400, 132018, "Param text cannot have new-line/tab characters or more than 4 spaces")
    return " ".join(texts)
