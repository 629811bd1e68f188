"""APNs provider tokens: an ES256 JWT over the team and the time, signed with the team's .p8 key.

Apple accepts a token for an hour, and a new one at most every 20 minutes ("Establishing a token-based
connection to APNs"), so one token is used for 40 minutes.
"""

import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

RENEW_AFTER_S = 40 * 60
FORCED_EVERY_S = 20 * 60


class ProviderTokens:
    """The token that all requests carry. Signing takes less than a millisecond, so it is done inline."""

    def __init__(
        self,
        key: EllipticCurvePrivateKey,
        *,
        key_id: str,
        team_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._clock = clock
        self._token = ""
        self._issued_at = float("-inf")
        self._forced_at = float("-inf")

    def current(self) -> str:
        """The token to send with. One from the future (the clock went back) is replaced too."""
        if not 0 <= self._clock() - self._issued_at < RENEW_AFTER_S:
            self._issue()
        return self._token

    def after_expired(self, refused: str) -> str | None:
        """The token to retry with after Apple called `refused` expired; None: do not retry.

        A second caller gets the new token. Apple refuses providers that renew too often, so a token is
        renewed early at most once in 20 minutes; renewing does not help when our clock is wrong.
        """
        if refused != self._token:
            return self._token
        if self._clock() - self._forced_at < FORCED_EVERY_S:
            return None
        self._forced_at = self._clock()
        self._issue()
        return self._token

    def _issue(self) -> None:
        self._issued_at = self._clock()
        claims = {"iss": self._team_id, "iat": int(self._issued_at)}
        self._token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
