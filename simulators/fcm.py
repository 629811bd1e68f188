"""Firebase Cloud Messaging, HTTP v1, and Google's token exchange, as their references describe them.

The device token decides the result of a message: `unregistered-…` 404 UNREGISTERED · `bad-…` 400 with a
violation of `message.token` · `mismatch-…` 403 SENDER_ID_MISMATCH · `thirdparty-…` 401
THIRD_PARTY_AUTH_ERROR · `quota-…` 429 with Retry-After · `unavailable-…` 503 · `internal-…` 500.
Everything else is accepted. Faults for the recipient `token` strike the token exchange. FCM reports
nothing later, and neither does this.
"""

import json
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any, ClassVar, cast
from uuid import uuid4

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from simulators import credentials
from simulators.base import Received, Simulator, SimulatorContext
from simulators.faults import Fault, Strike

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
"""Either is enough to send (the discovery document of FCM v1: messages.send)."""
AUDIENCE = "https://oauth2.googleapis.com/token"
PAYLOAD_BYTES_MAX = 4096
RETRY_AFTER_S = 60

# HTTP status → (google.rpc.Code, FcmError.errorCode where FCM gives one)
_BY_HTTP: dict[int, tuple[str, str | None]] = {
    400: ("INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    401: ("UNAUTHENTICATED", None),
    403: ("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    404: ("NOT_FOUND", "UNREGISTERED"),
    429: ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    500: ("INTERNAL", "INTERNAL"),
    503: ("UNAVAILABLE", "UNAVAILABLE"),
}
_MAGIC: dict[str, tuple[int, str]] = {
    "unregistered-": (404, "UNREGISTERED"),
    "mismatch-": (403, "SENDER_ID_MISMATCH"),
    "thirdparty-": (401, "THIRD_PARTY_AUTH_ERROR"),
    "quota-": (429, "QUOTA_EXCEEDED"),
    "unavailable-": (503, "UNAVAILABLE"),
    "internal-": (500, "INTERNAL"),
}


class Fcm(Simulator):
    """Mounted below `/fcm`. `token_life_s`: the life of the next access tokens, in seconds."""

    name: ClassVar[str] = "fcm"

    def __init__(self, context: SimulatorContext) -> None:
        super().__init__(context)
        self._credentials = credentials.write(context.state_dir)
        account = json.loads(self._credentials.fcm_service_account_file.read_text())
        key = load_pem_private_key(account["private_key"].encode(), password=None)
        self._public_key = cast("RSAPrivateKey", key).public_key()
        self._client_email: str = account["client_email"]
        self._key_id: str = account["private_key_id"]
        self._tokens: dict[str, float] = {}
        self.token_life_s = 3600
        self.exchanges = 0
        """The number of access tokens issued."""

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/token", self._exchange),
            web.post("/v1/projects/{project}/messages:send", self._send),
        ]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__FCM__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}TOKEN_URL": f"{base_url}/{self.name}/token",
            f"{prefix}PROJECT_ID": self._credentials.fcm_project_id,
            f"{prefix}SERVICE_ACCOUNT_FILE": str(self._credentials.fcm_service_account_file),
        }

    def refusal(self, fault: Fault) -> web.Response:
        status = fault.status or 500
        # An empty code: Google's error form without FCM's own part.
        code = _BY_HTTP.get(status, ("UNKNOWN", None))[1] if fault.code is None else str(fault.code) or None
        answer = _error(status, code)
        if fault.retry_after_s is not None:
            answer.headers["Retry-After"] = str(int(fault.retry_after_s))
        return answer

    def revoke_tokens(self) -> None:
        """Refuse every access token issued so far."""
        self._tokens.clear()

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        # Only faults for the recipient "token" apply to the exchange; those for all are for messages.
        named = any(fault.recipient == "token" for fault in self.faults.faults)
        strike = self.faults.strike("token") if named else Strike()
        await self.delay(strike.latency_s)
        if strike.fault is not None:
            return self.refusal(strike.fault)
        if form.get("grant_type") != GRANT:
            return _oauth_error("unsupported_grant_type")
        if not self._assertion_holds(str(form.get("assertion", "")), str(request.url.with_query(None))):
            return _oauth_error("invalid_grant")
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self._tokens[token] = time.time() + self.token_life_s
        self.exchanges += 1
        return web.json_response(
            {"access_token": token, "expires_in": self.token_life_s, "token_type": "Bearer"}
        )

    def _assertion_holds(self, assertion: str, audience: str) -> bool:
        try:
            if jwt.get_unverified_header(assertion).get("kid") != self._key_id:
                return False
            claims = jwt.decode(
                assertion,
                self._public_key,
                algorithms=["RS256"],
                # Google's own clients send this audience, whatever their endpoint is.
                audience=[audience, AUDIENCE],
                issuer=self._client_email,
                options={"require": ["exp", "iat", "aud", "iss"]},
                leeway=60,
            )
        except jwt.PyJWTError:
            return False
        scopes = SCOPES & set(str(claims.get("scope", "")).split())
        return bool(scopes) and claims["exp"] - claims["iat"] <= 3600

    async def _send(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
            message = body["message"]
            to = str(message.get("token") or message.get("fid") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error(400, None, field="message")
        project = request.match_info["project"]
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return await self.receive(request, to, lambda: self._process(message, to, project, token))

    def _process(
        self, message: dict[str, Any], to: str, project: str, token: str
    ) -> web.Response | tuple[Received, web.Response]:
        if self._tokens.get(token, 0) < time.time():
            return _error(401, None)
        if project != self._credentials.fcm_project_id:
            return _error(403, None)
        if not to or to.startswith("bad-"):
            return _error(400, "INVALID_ARGUMENT", field="message.token")
        invalid = _invalid_field(message)
        if invalid is not None:
            return _error(400, "INVALID_ARGUMENT", field=invalid)
        for prefix, (status, code) in _MAGIC.items():
            if to.startswith(prefix):
                return _error(status, code)
        name = f"projects/{project}/messages/0:{uuid4().hex}"
        notification = message.get("notification", {})
        received = Received(
            id=name,
            to=to,
            text=notification.get("body", ""),
            title=notification.get("title"),
            ref=message.get("data", {}).get("herald_ref"),
            vendor={"android": message.get("android", {}), "apns": message.get("apns", {})},
        )
        return received, web.json_response({"name": name})


def _invalid_field(message: dict[str, Any]) -> str | None:
    """The first invalid field, of those that FCM checks before the token."""
    data, android = message.get("data", {}), message.get("android", {})
    if not all(isinstance(value, str) for value in data.values()):
        return "message.data"
    reaching = {"notification": message.get("notification", {}), "data": data}
    if len(json.dumps(reaching, ensure_ascii=False, separators=(",", ":")).encode()) > PAYLOAD_BYTES_MAX:
        return "message"
    if not re.fullmatch(r"\d+(\.\d+)?s", android.get("ttl", "0s")):
        return "message.android.ttl"
    if android.get("priority", "NORMAL").upper() not in ("NORMAL", "HIGH"):
        return "message.android.priority"
    return None


def _error(status: int, code: str | None, *, field: str | None = None) -> web.Response:
    details: list[dict[str, Any]] = []
    if code is not None:
        details.append({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
    if field is not None:
        violation = {"field": field, "description": "Invalid value"}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    error = {
        "code": status,
        "message": f"The request was refused: {code or status}.",
        "status": _BY_HTTP.get(status, ("UNKNOWN", None))[0],
        "details": details,
    }
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else {}
    return web.json_response({"error": error}, status=status, headers=headers)


def _oauth_error(code: str) -> web.Response:
    return web.json_response({"error": code, "error_description": "Invalid JWT."}, status=400)
