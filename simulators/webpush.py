"""A push service (RFC 8030) that authenticates its callers (RFC 8292), and its browsers (RFC 8291).

It simulates every push service: its paths consist of the endpoints' hosts and paths. Its errors are
Mozilla's. A browser's keys are derived from its endpoint, so a subscription needs no registration:
`subscription` makes one, and so does `GET /subscription/{id}`. An endpoint ends in an id, which decides the
result of a message:

    unknown-…     404 errno 102            gone-…         410 errno 106
    large-…       413 errno 104            busy-…         429 errno 201, Retry-After
    unavailable-… 503 errno 201            internal-…     500 errno 999
    otherkey-…    403 as FCM words it: it subscribed with another key
    offline-…     accepted; a later message with the same Topic replaces the waiting one

It reports nothing later.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from simulators import credentials
from simulators.base import Received, Simulator, SimulatorContext
from simulators.faults import Fault

HOST = "updates.push.services.mozilla.com"
SUBJECT = "mailto:push@herald.example"
BODY_BYTES_MAX = 4096
TOKEN_LIFE_S_MAX = 86_400
RETRY_AFTER_S = 60
OTHER_KEY = (
    "the VAPID credentials in the authorization header do not correspond to the credentials used to create "
    "the subscriptions.\n"
)
_CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_AUTHORIZATION = re.compile(r"vapid t=([\w.-]+), ?k=([\w-]+)")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})

# HTTP status → Mozilla's errno. 504 comes from an intermediary, and Mozilla has no 403.
_ERRNO: Mapping[int, int] = {
    400: 110,
    401: 109,
    404: 102,
    410: 106,
    413: 104,
    429: 201,
    500: 999,
    502: 903,
    503: 201,
}
_MAGIC: Mapping[str, int] = {
    "unknown-": 404,
    "gone-": 410,
    "large-": 413,
    "busy-": 429,
    "unavailable-": 503,
    "internal-": 500,
}


class Undecryptable(Exception):
    """A body that the browser cannot decrypt: it would drop it silently."""


class Browser:
    """The browser behind an endpoint, and its keys."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        seed = hashlib.sha512(f"herald simulated browser {endpoint}".encode()).digest()
        self._auth = seed[:16]
        scalar = int.from_bytes(seed[16:]) % (_CURVE_ORDER - 1) + 1
        self._key = derive_private_key(scalar, SECP256R1())

    @property
    def subscription(self) -> dict[str, Any]:
        """As `PushSubscription.toJSON()` returns it."""
        keys = {"p256dh": _base64url(_point(self._key.public_key())), "auth": _base64url(self._auth)}
        return {"endpoint": self._endpoint, "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> bytes:
        """Decrypt a message for this browser. Raises Undecryptable."""
        return decrypt(body, self._key, self._auth)


def decrypt(body: bytes, key: EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """The plaintext of one aes128gcm message (RFC 8188, 8291: a single record). Raises Undecryptable."""
    salt, record_size, id_size = body[:16], int.from_bytes(body[16:20]), body[20] if len(body) > 20 else 0
    sender, record = body[21 : 21 + id_size], body[21 + id_size :]
    try:
        shared = key.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP256R1(), sender))
        secret = _derive(shared, auth, b"WebPush: info\0" + _point(key.public_key()) + sender, 32)
        content_key = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(content_key).decrypt(nonce, record, None).rstrip(b"\0")
    except (ValueError, InvalidTag) as error:
        raise Undecryptable from error
    if len(record) > record_size or not padded.endswith(b"\x02"):
        raise Undecryptable
    return padded[:-1]


def subscription(id: str, host: str = HOST) -> dict[str, Any]:
    """The subscription of a browser, as a page would send it to its server."""
    return Browser(f"https://{host}/wpush/v2/{id}").subscription


class WebPush(Simulator):
    """Mounted below `/webpush`. `tokens`: the valid tokens received, by origin."""

    name: ClassVar[str] = "webpush"

    def __init__(self, context: SimulatorContext) -> None:
        super().__init__(context)
        self._key_file = credentials.write(context.state_dir).webpush_key_file
        key = load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._public_key = key.public_key()
        self._waiting: dict[tuple[str, str], str] = {}
        self.tokens: dict[str, set[str]] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get("/subscription/{id}", self._subscribe), web.post("/{host}/{path:.+}", self._push)]

    def settings(self, base_url: str) -> dict[str, str]:
        prefix = "HERALD_PROVIDERS__WEBPUSH__"
        return {
            f"{prefix}BASE_URL": f"{base_url}/{self.name}",
            f"{prefix}KEY_FILE": str(self._key_file),
            f"{prefix}SUBJECT": SUBJECT,
        }

    def refusal(self, fault: Fault) -> web.Response:
        answer = _error(fault.status or 500)
        if fault.retry_after_s is not None:
            answer.headers["Retry-After"] = str(int(fault.retry_after_s))
        return answer

    async def _subscribe(self, request: web.Request) -> web.Response:
        return web.json_response(subscription(request.match_info["id"]))

    async def _push(self, request: web.Request) -> web.StreamResponse:
        endpoint = f"https://{request.raw_path.removeprefix(f'/{self.name}/')}"
        body = await request.read()
        return await self.receive(request, endpoint, lambda: self._process(request, endpoint, body))

    def _process(
        self, request: web.Request, endpoint: str, body: bytes
    ) -> web.Response | tuple[Received, web.Response]:
        refused = self._unauthorized(request, endpoint) or _malformed(request, body)
        if refused is not None:
            return refused
        id = urlsplit(endpoint).path.rpartition("/")[2]
        if id.startswith("otherkey-"):
            return web.Response(status=403, text=OTHER_KEY)
        for prefix, status in _MAGIC.items():
            if id.startswith(prefix):
                return _error(status)
        try:
            payload = json.loads(Browser(endpoint).decrypt(body))
        except (Undecryptable, ValueError):
            # A browser would drop it silently; here the sender gets an error.
            return _error(400)
        headers = {name: request.headers.get(name) for name in ("TTL", "Topic", "Urgency")}
        received = Received(
            id=f"https://{request.match_info['host']}/m/{uuid4().hex}",
            to=endpoint,
            text=payload.get("body", ""),
            title=payload.get("title"),
            ref=payload.get("herald_ref"),
            vendor={"headers": headers, "tag": payload.get("tag"), "body_bytes": len(body)},
        )
        if id.startswith("offline-"):
            self._replace(received, headers["Topic"])
        answer = {"Location": received.id, "TTL": headers["TTL"] or "0"}
        return received, web.Response(status=201, headers=answer)

    def _replace(self, message: Received, topic: str | None) -> None:
        """Keep only the last waiting message of a topic (RFC 8030, 5.4)."""
        if topic is not None:
            self.messages.pop(self._waiting.get((message.to, topic), ""), None)
            self._waiting[message.to, topic] = message.id

    def _unauthorized(self, request: web.Request, endpoint: str) -> web.Response | None:
        """The refusal of a caller without the key that the browser subscribed with; None for others."""
        found = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        if not found or found[2] != _base64url(_point(self._public_key)):
            return _error(401)
        origin = f"https://{urlsplit(endpoint).netloc}"
        try:
            claims = jwt.decode(
                found[1],
                self._public_key,
                algorithms=["ES256"],
                audience=origin,
                options={"require": ["exp", "aud", "sub"]},
            )
        except jwt.PyJWTError:
            return _error(401)
        life_s = claims["exp"] - time.time()
        if life_s > TOKEN_LIFE_S_MAX or not re.match(r"mailto:.+@.+\.|https://", str(claims["sub"])):
            return _error(401)
        self.tokens.setdefault(origin, set()).add(found[1])
        return None


def _malformed(request: web.Request, body: bytes) -> web.Response | None:
    """The refusal of a request with invalid headers or size; None for others."""
    headers = request.headers
    if "TTL" not in headers:
        return _error(400, 111)
    if not headers["TTL"].isdecimal():
        return _error(400, 112)
    if not _TOPIC.fullmatch(headers.get("Topic", "none")):
        return _error(400, 113)
    if headers.get("Urgency", "normal") not in _URGENCIES:
        return _error(400, 111)
    if headers.get("Content-Encoding") != "aes128gcm":
        return _error(400, 101)
    return _error(413) if len(body) > BODY_BYTES_MAX else None


def _error(status: int, errno: int | None = None) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else {}
    errno = errno or _ERRNO.get(status)
    if errno is None:
        return web.Response(status=status)
    error = {
        "code": status,
        "errno": errno,
        "error": "Refused",
        "message": f"The request was refused: {errno}.",
    }
    return web.json_response(error, status=status, headers=headers)


def _derive(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)


def _point(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
