"""A simulated Mailgun v3: messages, the events API, and signed webhooks.

Magic recipients, by the part before `@` (anything after a `+` is ignored, so that each test can have its own
address). A callback plan of the control API for the recipient takes precedence:

    invalid@…      refused with 400, "to parameter is not a valid address"
    bounce@…       accepted, then failed: permanent, reason `bounce`
    suppressed@…   accepted, then failed: permanent, reason `suppress-bounce`
    expired@…      accepted, then failed: permanent, reason `old`
    temporary@…    accepted, then failed: temporary, and nothing more
    rejected@…     accepted, then rejected
    complained@…   accepted, delivered, then complained
    unsubscribed@… accepted, delivered, then unsubscribed
    silent@…       accepted, and no event after that

Anything else is accepted and delivered. The control API's statuses are sent (accepted), delivered and
undelivered (failed); its `code` is the reason of a failure, `temporary` for a temporary one.

`lag_s`: seconds until the events API shows an event.
"""

import hmac
import json
import secrets
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web
from multidict import MultiDictProxy

from simulators.base import Outgoing, Received
from simulators.faults import Fault, recipient_key
from simulators.mail import MailSimulator, is_address, magic_part

API_KEY = "key-simulated"
DOMAIN = "mg.herald.example"
FROM_EMAIL = "Herald <notices@mg.herald.example>"
SIGNING_KEY = "simulated-signing-key"
OPTIONS_BYTES_MAX = 16 * 1024
REFERENCE = "herald_ref"
EVENTS_MAX = 300

MAGIC: Mapping[str, tuple[str, str | None]] = {
    "bounce": ("failed", "bounce"),
    "suppressed": ("failed", "suppress-bounce"),
    "expired": ("failed", "old"),
    "temporary": ("failed", "temporary"),
    "rejected": ("rejected", None),
    "complained": ("complained", None),
    "unsubscribed": ("unsubscribed", None),
}
AFTER_DELIVERY = frozenset({"opened", "clicked", "complained", "unsubscribed"})

Form = MultiDictProxy[str | bytearray | bytes | web.FileField]


def problem(status: int, message: str) -> web.Response:
    """Mailgun's error form."""
    return web.json_response({"message": message}, status=status)


def signed(event: Mapping[str, Any], at: datetime | None = None, token: str | None = None) -> bytes:
    """The body of a webhook with this event, signed now and with a new token by default."""
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    token = token or secrets.token_hex(25)
    digest = hmac.new(SIGNING_KEY.encode(), (timestamp + token).encode(), "sha256").hexdigest()
    signature = {"timestamp": timestamp, "token": token, "signature": digest}
    return json.dumps({"signature": signature, "event-data": event}).encode()


class Mailgun(MailSimulator):
    """Mounted below `/mailgun`: an account with one domain."""

    name = "mailgun"
    statuses: ClassVar[Mapping[str, str]] = {
        "sent": "accepted",
        "delivered": "delivered",
        "undelivered": "failed",
    }
    progress: ClassVar[Sequence[str]] = ("accepted",)
    magic_words = MAGIC
    after_delivery = AFTER_DELIVERY
    lag_s: float = 0.0

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/v3/{domain}/messages", self._send),
            web.get("/v3/{domain}/events", self._events),
            web.get("/v3/{domain}/events/{page}", self._events),
        ]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__MAILGUN__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}API_KEY": API_KEY,
            f"{prefix}DOMAIN": DOMAIN,
            f"{prefix}FROM_EMAIL": FROM_EMAIL,
            f"{prefix}SIGNING_KEY": SIGNING_KEY,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        if status == 401:
            return web.json_response("Forbidden", status=401)
        if status == 429:
            wait_s = int(fault.retry_after_s or 120)
            limit = "account-requests-per-sec limit exceeded"
            return problem(
                429, f"Domain {DOMAIN} is not allowed to send: {limit}, try again after {wait_s} seconds"
            )
        return problem(status, "Internal Server Error" if status >= 500 else f"simulated {status}")

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        events: list[dict[str, Any]] = message.vendor["events"]
        # The `accepted` event was recorded at once.
        event = events[0] if status == "accepted" else self._event(message, status, code)
        if event not in events:
            events.append(event)
        url = f"{self.context.callback_base}/{self.name}"
        return Outgoing(url, {"Content-Type": "application/json"}, signed(event))

    async def _send(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            self.refuse("", denied.status)
            return denied
        form = await request.post()
        to = str(form.get("to", ""))
        return await self.receive(request, to, lambda: self._process(form, to))

    def _process(self, form: Form, to: str) -> web.Response | tuple[Received, web.Response]:
        refused = fault_in(form, to)
        if refused is not None:
            return refused
        variables = {name[2:]: str(value) for name, value in form.items() if name.startswith("v:")}
        id = f"{datetime.now(UTC):%Y%m%d%H%M%S}.{secrets.token_hex(8)}@{DOMAIN}"
        message = Received(
            id=id,
            to=to,
            text=str(form.get("text") or form.get("html")),
            title=str(form["subject"]),
            ref=variables.get(REFERENCE),
            status="accepted",
            headers={name[2:]: str(value) for name, value in form.items() if name.startswith("h:")},
            vendor={
                "from": str(form["from"]),
                "tags": [str(tag) for tag in form.getall("o:tag", [])],
                "variables": variables,
                "events": [],
            },
        )
        message.vendor["events"].append(self._event(message, "accepted", None))
        return message, web.json_response({"id": f"<{id}>", "message": "Queued. Thank you."})

    def _event(self, message: Received, status: str, code: str | int | None) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event": status,
            "id": secrets.token_urlsafe(16),
            "timestamp": time.time(),
            "log-level": "info",
            "recipient": message.to,
            "recipient-domain": message.to.rpartition("@")[2],
            "tags": message.vendor["tags"],
            "user-variables": message.vendor["variables"],
            "flags": {"is-test-mode": False},
            "message": {
                "headers": {
                    "to": message.to,
                    "message-id": message.id,
                    "from": message.vendor["from"],
                    "subject": message.title,
                },
                "attachments": [],
                "size": len(message.text),
            },
        }
        if status == "failed":
            temporary = code == "temporary"
            event |= {
                "severity": "temporary" if temporary else "permanent",
                "reason": "generic" if temporary else str(code or "bounce"),
                "log-level": "warn" if temporary else "error",
                "delivery-status": {"attempt-no": 1, "code": 451 if temporary else 550, "description": ""},
            }
        if status == "rejected":
            event["reject"] = {"reason": "Rejected by the simulator", "description": ""}
        if status == "delivered":
            event["delivery-status"] = {"attempt-no": 1, "code": 250, "message": "OK"}
        return event

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            return denied
        page = request.match_info.get("page")
        query = dict(json.loads(urlsafe_b64decode(page))) if page else dict(request.query)
        if "begin" in query and "end" not in query and "ascending" not in query:
            return problem(400, "ascending must be given when the range has no end")
        of_message = self.messages.get(query.get("message-id", ""))
        to = query.get("recipient") or (of_message.to if of_message else "")
        found = [event for message in self.messages.values() for event in self._shown(message, query)]
        found.sort(key=lambda event: event["timestamp"], reverse=query.get("ascending") != "yes")
        start = int(query.get("start", "0"))
        end = start + min(int(query.get("limit", "100")), EVENTS_MAX)
        following = urlsafe_b64encode(json.dumps({**query, "start": str(end)}).encode()).decode()
        paging = {"next": f"{request.url.origin()}/{self.name}/v3/{DOMAIN}/events/{following}"}
        answer = {"items": found[start:end], "paging": paging}
        return await self.look_up(request, to, lambda: web.json_response(answer))

    def _shown(self, message: Received, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if query.get("message-id", message.id) != message.id:
            return []
        if recipient_key(query.get("recipient", message.to)) != recipient_key(message.to):
            return []
        if "tags" in query and query["tags"] not in message.vendor["tags"]:
            return []
        begin, end = float(query.get("begin", 0)), float(query.get("end", "inf"))
        shown_until = min(end, time.time() - self.lag_s)
        wanted = query.get("event")
        return [
            event
            for event in message.vendor["events"]
            if begin <= event["timestamp"] <= shown_until and wanted in (None, event["event"])
        ]

    def _denied(self, request: web.Request) -> web.Response | None:
        expected = "Basic " + b64encode(f"api:{API_KEY}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.json_response("Forbidden", status=401)
        if request.match_info["domain"] != DOMAIN:
            return problem(404, "Domain not found")
        return None


def fault_in(form: Form, to: str) -> web.Response | None:
    """The vendor's refusal of a mail that it cannot send; None when it can."""
    for name in ("from", "to", "subject"):
        if not form.get(name):
            return problem(400, f"{name} parameter is missing")
    if not is_address(to) or magic_part(to) == "invalid":
        return problem(400, "to parameter is not a valid address. please check documentation")
    if not form.get("text") and not form.get("html"):
        return problem(
            400, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"
        )
    options = sum(len(name) + len(str(value)) for name, value in form.items() if name[1:2] == ":")
    if options > OPTIONS_BYTES_MAX:
        return problem(400, "Send options (parameters starting with o:, h:, or v:) are limited to 16KB total")
    return None
