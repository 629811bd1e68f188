"""VAPID (RFC 8292): an ES256 JWT over the push service's origin, and our public key, identify us to it.

A token may be valid for a day at most (section 2). One token serves all requests to its push service for
six hours, and is valid for six more: clocks differ, and Apple asks clients not to make one per request.
"""

import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.web_push import to_base64url

LIFE_S = 12 * 3600
RENEW_AFTER_S = 6 * 3600
ORIGINS_MAX = 256
"""More than there are: Windows has one host per region."""


class VapidTokens:
    """The `Authorization` headers, one per push service. Signing takes less than a millisecond."""

    def __init__(
        self, key: EllipticCurvePrivateKey, *, subject: str, clock: Callable[[], float] = time.time
    ) -> None:
        """`subject`: our contact address for push services, `mailto:…` or `https://…`."""
        self._key = key
        self._subject = subject
        self._clock = clock
        self._made: dict[str, tuple[float, str]] = {}
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_key = to_base64url(point)
        """The `applicationServerKey` that a page gives to `pushManager.subscribe`."""

    def header(self, origin: str) -> str:
        """The header for requests to this origin, `https://host`."""
        now = self._clock()
        issued_at, header = self._made.get(origin, (float("-inf"), ""))
        # A token from the future (the clock went back) is replaced too.
        if not 0 <= now - issued_at < RENEW_AFTER_S:
            claims = {"aud": origin, "exp": int(now) + LIFE_S, "sub": self._subject}
            token = jwt.encode(claims, self._key, algorithm="ES256")
            header = f"vapid t={token}, k={self.public_key}"
            if len(self._made) >= ORIGINS_MAX:
                self._made.clear()
            self._made[origin] = now, header
        return header
