"""A simulated Resend: emails with idempotency keys, their last event, and Svix-signed webhooks.

Magic recipients are Resend's own test words before the `@` (anything after a `+` is ignored, so that each
test can have its own address). A callback plan of the control API for the recipient takes precedence:

    invalid@…      refused with 422, "Invalid `to` field"
    bounced@…      accepted, sent, then bounced: Permanent, General
    mailboxfull@…  accepted, sent, then bounced: Transient, MailboxFull
    delayed@…      accepted, sent, then delivery_delayed, and nothing more
    suppressed@…   accepted, sent, then suppressed
    failed@…       accepted, sent, then failed
    complained@…   accepted, delivered, then complained
    silent@…       accepted, and no event after that

Anything else is accepted and delivered. The control API's statuses are sent, delivered and undelivered
(bounced); its `code` is the sub-type of a bounce. A key is remembered for 24 hours: with the same body it
returns the first answer, with another 409 `invalid_idempotent_request`, and while the first request is still
being processed 409 `concurrent_idempotent_requests`.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import uuid4

from aiohttp import web

from simulators.base import Outgoing, Received, SimulatorContext
from simulators.faults import Fault
from simulators.mail import MailSimulator, is_address, magic_part

API_KEY = "re_simulated_key"
FROM_EMAIL = "Herald <notices@resend.herald.example>"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"the simulated Resend signs it").decode()
KEY_CHARS_MAX = 256
KEY_LIFE_S = 86_400.0
REFERENCE = "herald_ref"

NAMES: Mapping[int, str] = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    409: "concurrent_idempotent_requests",
    422: "missing_required_field",
    429: "rate_limit_exceeded",
    451: "security_error",
    500: "application_error",
    503: "service_unavailable",
}


def problem(status: int, name: str, message: str = "The request was refused.") -> web.Response:
    """Resend's error form."""
    return web.json_response({"statusCode": status, "name": name, "message": message}, status=status)


def signed(id: str, body: bytes, at: datetime | None = None) -> dict[str, str]:
    """The headers of a webhook with this body: base64 of HMAC-SHA256 over `id.timestamp.body`."""
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    key = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "svix-id": id,
        "svix-timestamp": timestamp,
        "svix-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class Resend(MailSimulator):
    """Mounted below `/resend`."""

    name = "resend"
    statuses: ClassVar[Mapping[str, str]] = {"undelivered": "bounced"}
    progress: ClassVar[Sequence[str]] = ("sent",)
    magic_words: ClassVar[Mapping[str, tuple[str, str | None]]] = {
        "bounced": ("bounced", "General"),
        "mailboxfull": ("bounced", "MailboxFull"),
        "delayed": ("delivery_delayed", None),
        "suppressed": ("suppressed", None),
        "failed": ("failed", None),
        "complained": ("complained", None),
    }
    after_delivery = frozenset({"opened", "clicked", "complained"})

    def __init__(self, context: SimulatorContext) -> None:
        super().__init__(context)
        self._keys: dict[str, tuple[bytes, float, str]] = {}
        """Body, time and the email's id of every idempotency key."""
        self._under_way: set[str] = set()

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/emails", self._send), web.get("/emails/{id}", self._retrieve)]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__RESEND__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}API_KEY": API_KEY,
            f"{prefix}FROM_EMAIL": FROM_EMAIL,
            f"{prefix}WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        answer = problem(status, str(fault.code or NAMES.get(status, "application_error")))
        if fault.retry_after_s is not None:
            answer.headers["Retry-After"] = str(int(fault.retry_after_s))
        return answer

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        data: dict[str, Any] = {
            "created_at": message.received_at.isoformat(),
            "email_id": message.id,
            "message_id": f"<{message.id}@email.herald.example>",
            "from": FROM_EMAIL,
            "to": [message.to],
            "subject": message.title,
            "tags": message.vendor["tags"],
        }
        data |= _details(status, code)
        event = {"type": f"email.{status}", "created_at": datetime.now(UTC).isoformat(), "data": data}
        body = json.dumps(event).encode()
        # A retried webhook keeps its id: there is one per status of a message.
        id = "msg_" + hashlib.sha256(f"{message.id}:{status}".encode()).hexdigest()[:27]
        headers = {"Content-Type": "application/json", **signed(id, body)}
        return Outgoing(f"{self.context.callback_base}/{self.name}", headers, body)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        if (denied := _denied(request)) is not None:
            self.refuse("", denied.status)
            return denied
        raw = await request.read()
        try:
            body: dict[str, Any] = json.loads(raw)
        except ValueError:
            return problem(400, "validation_error", "The body is not JSON.")
        to = body.get("to")
        recipient = str(to[0]) if isinstance(to, list) and to else str(to or "")
        key = request.headers.get("Idempotency-Key")
        if key is not None and not 0 < len(key) <= KEY_CHARS_MAX:
            return problem(400, "invalid_idempotency_key")
        if key in self._under_way:
            return problem(409, "concurrent_idempotent_requests")
        under_way = {key} if key else set[str]()
        self._under_way |= under_way
        try:
            return await self.receive(request, recipient, lambda: self._process(body, recipient, raw, key))
        finally:
            self._under_way -= under_way

    def _process(
        self, body: Mapping[str, Any], to: str, raw: bytes, key: str | None
    ) -> web.Response | tuple[Received, web.Response]:
        known = self._keys.get(key) if key else None
        if known and time.monotonic() - known[1] < KEY_LIFE_S:
            if known[0] != raw:
                return problem(409, "invalid_idempotent_request")
            return web.json_response({"id": known[2]})
        for name in ("from", "to", "subject"):
            if not body.get(name):
                return problem(422, "missing_required_field", f"Missing `{name}` field.")
        if not body.get("text") and not body.get("html"):
            return problem(422, "missing_required_field", "Missing `html` or `text` field.")
        if not is_address(to) or magic_part(to) == "invalid":
            return problem(422, "validation_error", "Invalid `to` field. The email address is malformed.")
        if body["from"] != FROM_EMAIL:
            return problem(403, "validation_error", "The domain is not verified.")
        tags = {str(tag["name"]): str(tag["value"]) for tag in body.get("tags", [])}
        ref = tags.get(REFERENCE)
        message = Received(
            id=str(uuid4()),
            to=to,
            text=str(body.get("text") or body.get("html")),
            title=str(body["subject"]),
            ref=".".join(ref.rsplit("_", 1)) if ref else None,
            status="queued",
            headers={str(name): str(value) for name, value in (body.get("headers") or {}).items()},
            vendor={"tags": tags},
        )
        if key:
            self._keys[key] = (raw, time.monotonic(), message.id)
        return message, web.json_response({"id": message.id})

    async def _retrieve(self, request: web.Request) -> web.StreamResponse:
        if (denied := _denied(request)) is not None:
            return denied
        message = self.messages.get(request.match_info["id"])
        if message is None:
            return problem(404, "not_found", "Email not found")
        return await self.look_up(request, message.to, lambda: web.json_response(_email(message)))


def _details(status: str, code: str | int | None) -> dict[str, Any]:
    """The fields that only this kind of event has."""
    if status == "bounced":
        sub_type = str(code or "General")
        bounce = {
            "type": "Permanent" if sub_type in ("General", "NoEmail") else "Transient",
            "subType": sub_type,
            "message": "Bounced by the simulator",
            "diagnosticCode": ["smtp; 550 5.1.1 user unknown"],
        }
        return {"bounce": bounce}
    if status == "suppressed":
        reason = {"reason": "previous_bounce", "type": "OnAccountSuppressionList"}
        return {"suppressed": {**reason, "message": "Suppressed", "diagnosticCode": []}}
    if status == "clicked":
        at = datetime.now(UTC).isoformat()
        click = {"ipAddress": "127.0.0.1", "link": "https://herald.example", "userAgent": "simulated"}
        return {"click": {**click, "timestamp": at}}
    return {"failed": {"reason": str(code or "reached_daily_quota")}} if status == "failed" else {}


def _email(message: Received) -> dict[str, Any]:
    return {
        "object": "email",
        "id": message.id,
        "message_id": f"<{message.id}@email.herald.example>",
        "to": [message.to],
        "from": FROM_EMAIL,
        "created_at": message.received_at.isoformat(),
        "subject": message.title,
        "text": message.text,
        "bcc": [],
        "cc": [],
        "reply_to": [],
        "last_event": message.status,
    }


def _denied(request: web.Request) -> web.Response | None:
    given = request.headers.get("Authorization")
    if given is None:
        return problem(401, "missing_api_key", "Missing API key in the authorization header.")
    return None if given == f"Bearer {API_KEY}" else problem(403, "invalid_api_key", "API key is invalid")
