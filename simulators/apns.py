"""Apple Push Notification service, the HTTP/2 provider API with token authentication, on its own port.

The device token decides the result of a message: `unregistered-…` 410 Unregistered · `reinstalled-…` 410
Unregistered since a day ago · `expired-…` 410
ExpiredToken · `bad-…` 400 BadDeviceToken · `othertopic-…` 400 DeviceTokenNotForTopic · `toomany-…` 429
TooManyRequests · `unavailable-…` 503 ServiceUnavailable · `internal-…` 500 InternalServerError.
Everything else is accepted, twice too: like Apple's, it does not recognise repeated messages.
The `code` of a `status` fault is the reason.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import h2.errors
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from simulators import credentials
from simulators.apns_h2 import Exchange, H2Listener
from simulators.base import BLACK_HOLE_S_MAX, HTML, Received, Simulator, SimulatorContext
from simulators.faults import Fault, Kind

PAYLOAD_BYTES_MAX = 4096
COLLAPSE_BYTES_MAX = 64
PROVIDER_TOKEN_S_MAX = 3600

_REASONS: dict[int, str] = {
    400: "PayloadEmpty",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
_MAGIC: dict[str, tuple[int, str]] = {
    "unregistered-": (410, "Unregistered"),
    "reinstalled-": (410, "Unregistered"),
    "expired-": (410, "ExpiredToken"),
    "bad-": (400, "BadDeviceToken"),
    "othertopic-": (400, "DeviceTokenNotForTopic"),
    "toomany-": (429, "TooManyRequests"),
    "unavailable-": (503, "ServiceUnavailable"),
    "internal-": (500, "InternalServerError"),
}


class Apns(Simulator):
    """The vendor's side. It listens only when the process has a port for it."""

    name: ClassVar[str] = "apns"

    def __init__(self, context: SimulatorContext) -> None:
        super().__init__(context)
        self.credentials = credentials.write(context.state_dir)
        key = load_pem_private_key(self.credentials.apns_key_file.read_bytes(), password=None)
        self._public_key = cast("EllipticCurvePrivateKey", key).public_key()
        self.provider_tokens: set[str] = set()
        """Every valid provider token seen so far."""
        self._expired: set[str] = set()
        self.listener = H2Listener(self._serve, str(self.credentials.apns_server_file))
        self.port: int | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        return []

    def settings(self, base_url: str) -> dict[str, str]:
        if self.port is None:
            return {}
        prefix = "HERALD_PROVIDERS__APNS__"
        return {
            f"{prefix}BASE_URL": f"https://{self.context.host}:{self.port}",
            f"{prefix}KEY_FILE": str(self.credentials.apns_key_file),
            f"{prefix}KEY_ID": self.credentials.apns_key_id,
            f"{prefix}TEAM_ID": self.credentials.apns_team_id,
            f"{prefix}TOPIC": self.credentials.apns_topic,
            f"{prefix}CA_FILE": str(self.credentials.apns_ca_file),
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(int(fault.retry_after_s))}
        body = {"reason": str(fault.code or _REASONS.get(status, "InternalServerError"))}
        return web.json_response(body, status=status, headers=headers)

    def expire_provider_tokens(self) -> None:
        """Treat every provider token seen so far as expired."""
        self._expired |= self.provider_tokens

    async def start(self) -> None:
        if self.context.apns_port is not None:
            self.port = await self.listener.start(self.context.host, self.context.apns_port)

    async def stop(self) -> None:
        await self.listener.stop()

    async def _serve(self, exchange: Exchange) -> None:
        """Apply the recipient's faults to one request, as `Simulator.receive` does for HTTP/1.1."""
        to = exchange.headers.get(":path", "").removeprefix("/3/device/")
        strike = self.faults.strike(to)
        await self.delay(strike.latency_s)
        fault = strike.fault
        if fault and fault.kind in (Kind.STATUS, Kind.ERROR_RATE):
            answer = self.refusal(fault)
            self.refuse(to, answer.status, fault.code)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            headers["apns-id"] = _id_of(exchange)
            exchange.respond(answer.status, headers, cast("bytes", answer.body))
            return
        if fault and fault.kind in (Kind.BLACK_HOLE, Kind.RESET, Kind.RST_STREAM):
            self.refuse(to, 0, fault.kind)
            await self._break(exchange, fault)
            return
        if fault and fault.kind is Kind.GOAWAY and fault.code != "graceful":
            self.refuse(to, 0, fault.kind)
            exchange.connection.go_away(exchange.stream_id - 2 if exchange.stream_id > 2 else 0)
            return
        result = self._process(exchange, to)
        if isinstance(result, tuple):
            status, reason = result
            self.refuse(to, status, reason)
            body: dict[str, Any] = {"reason": reason}
            if status == 410:
                ago_s = 86_400 if to.startswith("reinstalled-") else 0
                body["timestamp"] = int((time.time() - ago_s) * 1000)
            exchange.respond(status, {"apns-id": _id_of(exchange)}, json.dumps(body).encode())
            return
        await self.accept(result)
        if fault and fault.kind is Kind.ACCEPT_THEN_STALL:
            await self.delay(fault.latency_s)
        self._answer_accepted(exchange, fault, result)

    async def _break(self, exchange: Exchange, fault: Fault) -> None:
        if fault.kind is Kind.RESET:
            exchange.connection.abort(reset=True)
        elif fault.kind is Kind.RST_STREAM:
            name = str(fault.code or "internal_error").upper()
            exchange.reset(h2.errors.ErrorCodes[name])
        else:
            await self.delay(BLACK_HOLE_S_MAX)

    def _answer_accepted(self, exchange: Exchange, fault: Fault | None, message: Received) -> None:
        if fault and fault.kind is Kind.ACCEPT_THEN_CLOSE:
            exchange.connection.abort(reset=False)
            return
        if fault and fault.kind is Kind.MALFORMED:
            exchange.respond(fault.status or 200, {"content-type": "text/html"}, HTML.encode())
            return
        if fault and fault.kind is Kind.GOAWAY:
            exchange.connection.go_away(exchange.stream_id)
        typed = {"content-type": "text/plain"} if fault and fault.kind is Kind.MISTYPED else {}
        # An acceptance has no body that could be cut.
        exchange.respond(200, {"apns-id": message.vendor["apns_id"], **typed})

    def _process(self, exchange: Exchange, to: str) -> tuple[int, str] | Received:
        """The stored message, or the status and reason of the refusal."""
        headers = exchange.headers
        if headers.get(":method") != "POST":
            return 405, "MethodNotAllowed"
        if not headers.get(":path", "").startswith("/3/device/"):
            return 404, "BadPath"
        refusal = self._token_refusal(headers.get("authorization", "")) or self._header_refusal(headers)
        if refusal is not None:
            return refusal
        if len(exchange.body) > PAYLOAD_BYTES_MAX:
            return 413, "PayloadTooLarge"
        try:
            payload = json.loads(exchange.body)
            alert = payload["aps"]["alert"]
            text, title = (alert, None) if isinstance(alert, str) else (alert["body"], alert.get("title"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return 400, "PayloadEmpty"
        for prefix, refusal in _MAGIC.items():
            if to.startswith(prefix):
                return refusal
        apns_id = _id_of(exchange)
        # To Apple a repeated id is a second notification, so it is stored as one.
        stored_as = apns_id if apns_id not in self.messages else f"{apns_id}#{uuid4().hex[:8]}"
        vendor = {"apns_id": apns_id, "headers": {k: v for k, v in headers.items() if k.startswith("apns-")}}
        return Received(stored_as, to, text, title, payload.get("herald_ref"), vendor=vendor)

    def _token_refusal(self, authorization: str) -> tuple[int, str] | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return 403, "MissingProviderToken"
        try:
            if jwt.get_unverified_header(token).get("kid") != self.credentials.apns_key_id:
                return 403, "InvalidProviderToken"
            # `iat` is checked below, as Apple does it.
            options: Any = {"require": ["iss", "iat"], "verify_iat": False}
            issuer = self.credentials.apns_team_id
            claims = jwt.decode(token, self._public_key, algorithms=["ES256"], issuer=issuer, options=options)
        except jwt.PyJWTError:
            return 403, "InvalidProviderToken"
        if token in self._expired or time.time() - claims["iat"] > PROVIDER_TOKEN_S_MAX:
            return 403, "ExpiredProviderToken"
        self.provider_tokens.add(token)
        return None

    def _header_refusal(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """The first header that Apple would refuse."""
        if not headers.get("apns-topic"):
            return 400, "MissingTopic"
        if headers["apns-topic"] != self.credentials.apns_topic:
            return 400, "TopicDisallowed"
        if headers.get("apns-push-type") not in ("alert", "background"):
            return 400, "InvalidPushType"
        if headers.get("apns-priority", "10") not in ("10", "5", "1"):
            return 400, "BadPriority"
        if not headers.get("apns-expiration", "0").isdigit():
            return 400, "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "").encode()) > COLLAPSE_BYTES_MAX:
            return 400, "BadCollapseId"
        try:
            UUID(headers.get("apns-id") or str(uuid4()))
        except ValueError:
            return 400, "BadMessageId"
        return None


def _id_of(exchange: Exchange) -> str:
    """The client's id as sent, else a new one."""
    return exchange.headers.get("apns-id") or str(uuid4()).upper()
