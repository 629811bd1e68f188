"""A simulated SendGrid v3: mail send, Email Logs, Email Activity, and a signed event webhook.

Magic recipients, by the part before `@` (anything after a `+` is ignored, so that each test can have its own
address). A callback plan of the control API for the recipient takes precedence:

    invalid@…      refused with 400, field personalizations.0.to.0.email
    bounce@…       processed, then a hard bounce (5.1.1)
    blocked@…      processed, then a block (a bounce of type `blocked`, 5.7.1)
    dropped@…      processed, then dropped with the reason "Bounced Address"
    deferred@…     processed, then deferred, and nothing more
    spamreport@…   processed, delivered, then reported as spam
    unsubscribe@…  processed, delivered, then unsubscribed
    silent@…       accepted, and no event at all

Anything else is processed and delivered. The control API's statuses are sent (processed), delivered and
undelivered (bounce); its `code` is the SMTP status of a bounce or the reason of a drop.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from simulators.base import Outgoing, Received
from simulators.faults import Fault
from simulators.mail import MailSimulator, is_address, magic_part
from simulators.sendgrid_history import (
    ACTIVITY_DETAIL,
    LOG_FIELDS,
    activity_event,
    activity_of,
    conditions_of,
    meets,
    summary_of,
)

API_KEY = "SG.simulated.key"
FROM_EMAIL = "Herald <notices@herald.example>"
CUSTOM_ARGS_BYTES_MAX = 10_000
REFERENCE = "herald_ref"

# Derived from a public text: it is valid for this simulator only.
_SIGNING_KEY = ec.derive_private_key(
    int.from_bytes(hashlib.sha256(b"herald simulated sendgrid event webhook").digest()), ec.SECP256R1()
)
PUBLIC_KEY = base64.b64encode(
    _SIGNING_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
"""The webhook's verification key as SendGrid's settings page shows it."""

MAGIC: Mapping[str, tuple[str, str | None]] = {
    "bounce": ("bounce", "5.1.1"),
    "blocked": ("blocked", "5.7.1"),
    "dropped": ("dropped", "Bounced Address"),
    "deferred": ("deferred", None),
    "spamreport": ("spamreport", None),
    "unsubscribe": ("unsubscribe", None),
}
AFTER_DELIVERY = frozenset({"open", "click", "spamreport", "unsubscribe", "group_unsubscribe"})


def problem(status: int, message: str, field: str | None = None) -> web.Response:
    """SendGrid's error form, without its optional `help`."""
    return web.json_response({"errors": [{"message": message, "field": field}]}, status=status)


class SendGrid(MailSimulator):
    """Mounted below `/sendgrid`."""

    name = "sendgrid"
    statuses: ClassVar[Mapping[str, str]] = {
        "sent": "processed",
        "delivered": "delivered",
        "undelivered": "bounce",
    }
    progress: ClassVar[Sequence[str]] = ("processed",)
    magic_words = MAGIC
    after_delivery = AFTER_DELIVERY

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/v3/mail/send", self._send),
            web.post("/v3/logs", self._search_logs),
            web.get("/v3/logs/{id}", self._log),
            web.get("/v3/messages", self._search_activity),
            web.get("/v3/messages/{id}", self._activity),
        ]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__SENDGRID__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}API_KEY": API_KEY,
            f"{prefix}FROM_EMAIL": FROM_EMAIL,
            f"{prefix}WEBHOOK_PUBLIC_KEY": PUBLIC_KEY,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        response = problem(status, f"simulated {status}", None if fault.code is None else str(fault.code))
        if status == 429:
            response.headers["X-RateLimit-Remaining"] = "0"
            response.headers["X-RateLimit-Reset"] = str(int(time.time() + (fault.retry_after_s or 60)) + 1)
        return response

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        event = self._event(message, status, code)
        message.vendor["events"].append(event)
        return self.signed([event])

    def signed(self, events: Sequence[Mapping[str, Any]], at: datetime | None = None) -> Outgoing:
        """The event webhook with these events, signed at this time (default: now)."""
        body = json.dumps(events, separators=(",", ":")).encode() + b"\r\n"
        timestamp = str(int((at or datetime.now(UTC)).timestamp()))
        signature = _SIGNING_KEY.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        headers = {
            "Content-Type": "application/json;charset=utf-8",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }
        return Outgoing(f"{self.context.callback_base}/{self.name}", headers, body)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            self.refuse("", denied.status)
            return denied
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self.refuse("", 400)
            return problem(400, "Bad Request")
        mail = cast("dict[str, Any]", body)
        to = recipient_of(mail)
        return await self.receive(request, to, lambda: self._process(mail, to))

    def _process(self, mail: dict[str, Any], to: str) -> web.Response | tuple[Received, web.Response]:
        refused = fault_in(mail, to)
        if refused is not None:
            return refused
        args = {**(mail.get("custom_args") or {}), **(mail["personalizations"][0].get("custom_args") or {})}
        id = secrets.token_urlsafe(16)
        message = Received(
            id=id,
            to=to,
            text=mail["content"][0]["value"],
            title=mail["subject"],
            ref=args.get(REFERENCE),
            status="processed",
            headers={str(name): str(value) for name, value in (mail.get("headers") or {}).items()},
            vendor={"sg_message_id": f"{id}.recvd-simulated-1-0.0", "custom_args": args, "events": []},
        )
        return message, web.Response(status=202, headers={"X-Message-Id": id})

    def _event(self, message: Received, status: str, code: str | int | None) -> dict[str, Any]:
        event: dict[str, Any] = {
            "email": message.to,
            "timestamp": int(time.time()),
            "smtp-id": f"<{message.id}@simulated.sendgrid.example>",
            "event": "bounce" if status == "blocked" else status,
            "sg_event_id": secrets.token_urlsafe(16),
            "sg_message_id": message.vendor["sg_message_id"],
        }
        if status in ("bounce", "blocked"):
            smtp = str(code or "5.1.1")
            event |= {
                "type": status,
                "status": smtp,
                "reason": f"550 {smtp} <{message.to}> refused",
                "tls": 1,
            }
        if status == "dropped":
            event["reason"] = str(code or "Spam Content")
        if status == "delivered":
            event["response"] = "250 OK"
        if status == "deferred":
            event |= {"response": "451 4.7.1 try again later", "attempt": "1"}
        # The webhook merges the custom arguments into the event, whatever their names.
        return {**event, **message.vendor["custom_args"]}

    async def _search_logs(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            return denied
        try:
            body = json.loads(await request.read())
        except ValueError:
            return problem(400, "Bad Request")
        conditions = conditions_of(str(body.get("query", "")))
        for name, _, _ in conditions:
            if name not in LOG_FIELDS:
                return problem(400, f"invalid syntax: '{name}' is not a known field")
        to = next((value for name, _, value in conditions if name == "to_email"), "")
        limit = int(body.get("limit", 10))

        def answer() -> web.Response:
            found = [m for m in self.messages.values() if all(meets(m, *one) for one in conditions)]
            return web.json_response({"messages": [summary_of(m) for m in found[::-1][:limit]]})

        return await self.look_up(request, to, answer)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        def answer(message: Received) -> dict[str, Any]:
            events = [{**e, "custom_args": message.vendor["custom_args"]} for e in message.vendor["events"]]
            detail = {"api_key_id": "simulated", "client_ip": "127.0.0.1", "events": events[-100:]}
            return {**summary_of(message), **detail, "custom_args": message.vendor["custom_args"]}

        return await self._one(request, answer)

    async def _search_activity(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            return denied
        like = re.fullmatch(r"msg_id LIKE '([^'%]+)%'", request.query.get("query", ""))
        if like is None:
            return problem(400, "invalid syntax: only msg_id LIKE is simulated")
        found = [m for m in self.messages.values() if m.vendor["sg_message_id"].startswith(like[1])]
        listed = [activity_of(message) for message in found[: int(request.query.get("limit", "10"))]]
        to = found[0].to if found else ""
        return await self.look_up(request, to, lambda: web.json_response({"messages": listed}))

    async def _activity(self, request: web.Request) -> web.StreamResponse:
        def answer(message: Received) -> dict[str, Any]:
            events = [activity_event(event) for event in message.vendor["events"]]
            return {**activity_of(message), **ACTIVITY_DETAIL, "events": events}

        return await self._one(request, answer)

    async def _one(
        self, request: web.Request, answer: Callable[[Received], dict[str, Any]]
    ) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            return denied
        id = request.match_info["id"]
        message = self.messages.get(id.partition(".")[0])
        if message is None or message.vendor["sg_message_id"] != id:
            return problem(404, "not found")
        return await self.look_up(request, message.to, lambda: web.json_response(answer(message)))

    def _denied(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {API_KEY}":
            return None
        return problem(401, "The provided authorization grant is invalid, expired, or revoked")


def recipient_of(mail: Mapping[str, Any]) -> str:
    """The first recipient of a mail; empty when there is none."""
    try:
        return str(mail["personalizations"][0]["to"][0]["email"])
    except (KeyError, IndexError, TypeError):
        return ""


def fault_in(mail: Mapping[str, Any], to: str) -> web.Response | None:
    """The vendor's refusal of a mail that it cannot send; None when it can."""
    personalizations = mail.get("personalizations")
    if not isinstance(personalizations, list) or not personalizations:
        return problem(400, "The personalizations field is required", "personalizations")
    if not to:
        return problem(400, "The to array is required", "personalizations.0.to")
    if not is_address(to) or magic_part(to) == "invalid":
        return problem(400, "Does not contain a valid address.", "personalizations.0.to.0.email")
    sender = mail.get("from")
    if not isinstance(sender, dict) or not is_address(str(sender.get("email", ""))):
        return problem(400, "The from email does not contain a valid address.", "from.email")
    subject = mail.get("subject")
    if not isinstance(subject, str) or not subject:
        return problem(400, "The subject is required.", "subject")
    if "\n" in subject or "\r" in subject:
        return problem(400, "The subject must not contain line breaks.", "subject")
    content = mail.get("content")
    if not isinstance(content, list) or not content:
        return problem(400, "The content parameter is required.", "content")
    value = content[0].get("value") if isinstance(content[0], dict) else None
    if not isinstance(value, str) or not value:
        return problem(
            400, "The content value must be a string at least one character in length.", "content.0.value"
        )
    if len(json.dumps(personalizations[0].get("custom_args") or {})) > CUSTOM_ARGS_BYTES_MAX:
        return problem(400, "The custom_args are too large.", "personalizations.0.custom_args")
    return None
