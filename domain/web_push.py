"""A browser's push subscription (W3C Push API), and the hosts that it may use.

It is stored as one text, the address of a device: its endpoint and, after a `#`, its keys:
`https://push.example/s/1#p256dh=…&auth=…`. No endpoint contains a `#`. The endpoint alone identifies it, also
in the suppression list.

An endpoint is a URL from a client that we send requests to. So it is parsed strictly, and its host must be a
configured push service.
"""

import base64
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote

PUSH_SERVICES = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    "*.notify.windows.com",
)
"""The push services of Chrome, Firefox, Safari and Edge; `*.` stands for any subdomain."""

ENDPOINT_CHARS_MAX = 2048
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.{_LABEL}\.)?{_LABEL}(?:\.{_LABEL})*")
# Only what browsers write: no port, no user, no fragment, no encoded dots or slashes.
_ENDPOINT = re.compile(
    rf"https://(?P<host>{_LABEL}(?:\.{_LABEL})*)(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*"
    r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_SECRET_BYTES = 16
_POINT_BYTES = 65
_UNCOMPRESSED = 4

# The curve P-256 (FIPS 186, SEC 2): y² = x³ - 3x + b over the integers modulo p.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


class InvalidSubscription(ValueError):
    """A part of a subscription is not valid. The message never repeats it: it would allow sending."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where messages to a browser go, and what they are encrypted with (RFC 8291).

    `p256dh`: the browser's public key; `auth`: the secret it shares with us; both base64url.
    """

    endpoint: str
    p256dh: str
    auth: str

    @property
    def text(self) -> str:
        """The subscription as the address of a device."""
        return f"{self.endpoint}#p256dh={self.p256dh}&auth={self.auth}"

    @property
    def host(self) -> str:
        """The push service's host."""
        return self.endpoint.split("/", 3)[2]

    @property
    def path(self) -> str:
        """The endpoint below its host, with the query."""
        return f"/{self.endpoint.split('/', 3)[3]}"


def stored(text: str) -> Subscription:
    """Parse the subscription of a device's address, without checks."""
    endpoint, _, keys = text.partition("#")
    p256dh, _, auth = keys.removeprefix("p256dh=").partition("&auth=")
    return Subscription(endpoint, p256dh, auth)


def read(text: str) -> Subscription:
    """Parse and check the subscription of a device's address. Raises InvalidSubscription."""
    known = stored(text)
    return Subscription(
        check_endpoint(known.endpoint), check_public_key(known.p256dh), check_secret(known.auth)
    )


def check_endpoint(text: str) -> str:
    """The endpoint, if a browser could have given it. Raises InvalidSubscription.

    Its host is checked by is_push_service.
    """
    found = _ENDPOINT.fullmatch(text) if len(text) <= ENDPOINT_CHARS_MAX else None
    if not found or any(unquote(part) in (".", "..") for part in found["path"].split("?")[0].split("/")):
        raise InvalidSubscription(
            "expected the endpoint of a push subscription: https, a host without a port, at most "
            f"{ENDPOINT_CHARS_MAX} characters"
        )
    return text


def check_public_key(text: str) -> str:
    """Check a browser's public key, base64url: a point of P-256. Returns it without padding.

    Raises InvalidSubscription.
    """
    point = from_base64url(text)
    x, y = int.from_bytes(point[1:33]), int.from_bytes(point[33:])
    on_curve = max(x, y) < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    if len(point) != _POINT_BYTES or point[0] != _UNCOMPRESSED or not on_curve:
        raise InvalidSubscription("expected keys.p256dh: an uncompressed P-256 point of 65 bytes, base64url")
    return text.rstrip("=")


def check_secret(text: str) -> str:
    """Check a subscription's secret, base64url. Returns it without padding. Raises InvalidSubscription."""
    if len(from_base64url(text)) != _SECRET_BYTES:
        raise InvalidSubscription("expected keys.auth: 16 bytes, base64url")
    return text.rstrip("=")


def check_host(pattern: str) -> str:
    """Check a push service's host, or a pattern for subdomains: `*.push.example`. Raises
    InvalidSubscription.
    """
    if not _HOST.fullmatch(pattern):
        raise InvalidSubscription(
            f"expected a host such as push.example, or *.push.example for its subdomains: {pattern}"
        )
    return pattern


def is_push_service(endpoint: str, hosts: Collection[str]) -> bool:
    """Whether the endpoint's host is one of these; `*.push.example` matches every subdomain."""
    host = endpoint.split("/", 3)[2]
    return host in hosts or any(host.endswith(known[1:]) for known in hosts if known.startswith("*."))


def from_base64url(text: str) -> bytes:
    """Decode base64url with or without padding; empty if the text is not base64url."""
    if not _BASE64URL.fullmatch(text) or len(text.rstrip("=")) % 4 == 1:
        return b""
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def to_base64url(data: bytes) -> str:
    """Encode in base64url without padding, as the Push API writes keys."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
