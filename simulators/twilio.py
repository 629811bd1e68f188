"""Twilio's Programmable Messaging, as its OpenAPI document and its Python SDK 9.13 describe it.

Magic recipients (Twilio's own test numbers, and two more for later reports):
+15005550001 invalid (21211) · 0002 unroutable (21612) · 0003 no permission for the region (21408) ·
0004 unsubscribed by STOP (21610) · 0009 not a mobile (21614) · 0015 accepted, then undelivered as
unknown (30005) · 0016 accepted, then undelivered as a landline (30006).
Magic senders: +15005550001 invalid (21212) · 0007 not owned (21606) · 0008 queue full (21611).
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import ClassVar
from urllib.parse import parse_qs, urldefrag, urlencode, urlsplit

from aiohttp import web

from simulators.base import Outgoing, Received, Simulator, SimulatorContext
from simulators.faults import Fault

ACCOUNT_SID = "AC" + "5e" * 16
AUTH_TOKEN = "simulated-twilio-auth-token"
SENDER = "+15005550006"
BODY_MAX = 1600
# In the rows of the standard.
GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅå" "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ" " !\"#¤%&'()*+,-./" "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO" "PQRSTUVWXYZÄÖÑÜ§" "¿abcdefghijklmno" "pqrstuvwxyzäöñüà"
)  # fmt: skip
GSM_7_ESCAPED = frozenset("\f^{}\\[~]|€")

STOP_WORDS = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit"})
START_WORDS = frozenset({"start", "yes", "unstop"})

MAGIC_RECIPIENTS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
STATUS_OF_CODE = {20003: 401, 20404: 404, 20429: 429, 21611: 429}


class Twilio(Simulator):
    """Mounted below `/twilio`."""

    name = "twilio"
    progress: ClassVar[Sequence[str]] = ("sent",)
    magic: ClassVar[Mapping[str, tuple[str, str | int | None]]] = {
        "+15005550015": ("undelivered", 30005),
        "+15005550016": ("undelivered", 30006),
    }

    def __init__(self, context: SimulatorContext) -> None:
        super().__init__(context)
        self._stopped: set[str] = set()

    def routes(self) -> Sequence[web.RouteDef]:
        account = "/2010-04-01/Accounts/{account}"
        return [
            web.post(f"{account}/Messages.json", self._create),
            web.get(f"{account}/Messages.json", self._list),
            web.get(f"{account}/Messages/{{sid}}.json", self._fetch),
        ]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__TWILIO__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/twilio",
            f"{prefix}ACCOUNT_SID": ACCOUNT_SID,
            f"{prefix}AUTH_TOKEN": AUTH_TOKEN,
            f"{prefix}FROM": SENDER,
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        code = fault.code if fault.code is not None else {429: 20429, 401: 20003}.get(status, 20000 + status)
        headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
        return web.json_response(_error(int(code), status), status=status, headers=headers)

    def callback(self, message: Received, status: str, code: str | int | None) -> Outgoing | None:
        url = message.vendor["status_callback"]
        if not url:
            return None
        fields = {
            "AccountSid": ACCOUNT_SID,
            "ApiVersion": "2010-04-01",
            "From": message.vendor["from"],
            "MessageSid": message.id,
            "MessageStatus": status,
            "SmsSid": message.id,
            "SmsStatus": status,
            "To": message.to,
        }
        if code is not None:
            fields["ErrorCode"] = str(code)
        return Outgoing(
            url,
            {
                "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
                "X-Twilio-Signature": sign(AUTH_TOKEN, url, fields),
            },
            urlencode(fields).encode(),
        )

    def incoming(self, sender: str, text: str) -> Outgoing:
        """A received message. Like Twilio, STOP blocks messages to its sender until START (21610)."""
        word = text.strip().lower()
        if word in STOP_WORDS:
            self._stopped.add(sender)
        elif word in START_WORDS:
            self._stopped.discard(sender)
        url, sid = f"{self.context.callback_base}/{self.name}", "SM" + secrets.token_hex(16)
        fields = {
            "AccountSid": ACCOUNT_SID,
            "ApiVersion": "2010-04-01",
            "Body": text,
            "From": sender,
            "MessageSid": sid,
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsMessageSid": sid,
            "SmsSid": sid,
            "SmsStatus": "received",
            "To": SENDER,
        }
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "X-Twilio-Signature": sign(AUTH_TOKEN, url, fields),
        }
        return Outgoing(url, headers, urlencode(fields).encode())

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if refused := _unauthorised(request):
            return refused
        form = {name: str(value) for name, value in (await request.post()).items()}
        return await self.receive(request, form.get("To", ""), lambda: self._process(form))

    def _process(self, form: Mapping[str, str]) -> web.Response | tuple[Received, web.Response]:
        to, sender, text = form.get("To", ""), form.get("From", ""), form.get("Body", "")
        stopped = 21610 if to in self._stopped else None
        if code := _complaint(to, sender or form.get("MessagingServiceSid", ""), text) or stopped:
            status = STATUS_OF_CODE.get(code, 400)
            return web.json_response(_error(code, status), status=status)
        callback = urldefrag(form.get("StatusCallback", "")).url
        ref = parse_qs(urlsplit(callback).query).get("ref", [None])[0]
        message = Received(
            id="SM" + secrets.token_hex(16),
            to=to,
            text=text,
            ref=ref,
            status="queued",
            vendor={
                "from": sender,
                "service": form.get("MessagingServiceSid"),
                "status_callback": callback,
            },
        )
        return message, web.json_response(_resource(message), status=201)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if refused := _unauthorised(request):
            return refused
        query = request.query
        return await self.look_up(request, query.get("To", ""), lambda: self._page(request.path, query))

    def _page(self, path: str, query: Mapping[str, str]) -> web.Response:
        to, sender = query.get("To"), query.get("From")
        found = [
            message
            for message in reversed(self.messages.values())
            if (to is None or message.to == to) and (sender is None or message.vendor["from"] == sender)
        ]
        size, page = min(int(query.get("PageSize", "50")), 1000), int(query.get("Page", "0"))
        path = path.removeprefix("/twilio")
        following = {**query, "PageSize": str(size), "Page": str(page + 1), "PageToken": f"PASM{page + 1}"}
        more = len(found) > (page + 1) * size
        return web.json_response(
            {
                "messages": [_resource(message) for message in found[page * size : (page + 1) * size]],
                "page": page,
                "page_size": size,
                "start": page * size,
                "uri": f"{path}?{urlencode(query)}",
                "next_page_uri": f"{path}?{urlencode(following)}" if more else None,
            }
        )

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        if refused := _unauthorised(request):
            return refused
        message = self.messages.get(request.match_info["sid"])
        if message is None:
            return web.json_response(_error(20404, 404), status=404)
        return await self.look_up(request, message.to, lambda: web.json_response(_resource(message)))


def sign(token: str, url: str, fields: Mapping[str, str]) -> str:
    """`X-Twilio-Signature`: base64 of HMAC-SHA1 over the URL and the sorted fields."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), hashlib.sha1)).decode()


def _unauthorised(request: web.Request) -> web.Response | None:
    expected = "Basic " + base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
    if request.headers.get("Authorization") == expected and request.match_info["account"] == ACCOUNT_SID:
        return None
    return web.json_response(_error(20003, 401), status=401)


def _complaint(to: str, sender: str, text: str) -> int | None:
    if not to:
        return 21604
    if not sender:
        return 21603
    if not text:
        return 21602
    if len(text) > BODY_MAX:
        return 21617
    if code := MAGIC_SENDERS.get(sender):
        return code
    return MAGIC_RECIPIENTS.get(to) or (None if re.fullmatch(r"\+[1-9]\d{6,14}", to) else 21211)


def segments_of(text: str) -> int:
    """The number of SMS segments of a text: 160 or 153 septets of GSM 03.38 each, else 70 or 67 of UTF-16."""
    sizes = [0 if c in GSM_7 else 1 if c in GSM_7_ESCAPED else None for c in text]
    gsm = None not in sizes
    sizes = [1 + (size or 0) for size in sizes] if gsm else [len(c.encode("utf-16-be")) // 2 for c in text]
    if sum(sizes) <= (160 if gsm else 70):
        return 1
    count, left = 1, 153 if gsm else 67
    for size in sizes:
        if left < size:
            count, left = count + 1, 153 if gsm else 67
        left -= size
    return count


def _error(code: int, status: int) -> dict[str, object]:
    return {
        "code": code,
        "message": f"The request was refused ({code}).",
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }


def _resource(message: Received) -> dict[str, object]:
    path = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{message.id}"
    return {
        "account_sid": ACCOUNT_SID,
        "api_version": "2010-04-01",
        "body": message.text,
        "date_created": _rfc2822(message.received_at),
        "date_sent": None if message.status == "queued" else _rfc2822(message.received_at),
        "date_updated": _rfc2822(message.received_at),
        "direction": "outbound-api",
        "error_code": message.code,
        "error_message": None,
        "from": message.vendor["from"] or None,
        "messaging_service_sid": message.vendor["service"],
        "num_media": "0",
        "num_segments": str(segments_of(message.text)),
        "price": None,
        "price_unit": "USD",
        "sid": message.id,
        "status": message.status,
        "subresource_uris": {"media": f"{path}/Media.json"},
        "to": message.to,
        "uri": f"{path}.json",
    }


def _rfc2822(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0))
