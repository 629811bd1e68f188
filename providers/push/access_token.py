"""Google's access tokens: a service account's signed assertion, exchanged for a token (RFC 7523).

The exchange is Google's documented "service account" flow: RS256, `aud` = the token URL, at most an hour.
PyJWT and our own client do it, because google-auth blocks and brings its own HTTP client.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from configuration.environment import shown
from domain.outcome import Outcome, SendResult
from providers.http import Answer, RequestFailed, VendorClient, code_of, retry_after_s

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_S = 3600
EXCHANGE_S_MAX = 10.0
_OAUTH_ERROR = re.compile(r"[a-z_]{1,40}")
_REFRESH_AT = 0.9
_TRUSTED_UNTIL = 0.98
RETRY_S = 5.0
"""How long after a failed exchange the next one starts, while the old token is still valid."""


class NoToken(Exception):
    """There is no access token, so nothing was sent. `result` is the result of the send."""

    def __init__(self, result: SendResult) -> None:
        super().__init__(result.code)
        self.result = result


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The parts of a service account's key file that we need."""

    client_email: str
    private_key_id: str
    private_key: RSAPrivateKey

    @classmethod
    def read(cls, file: Path) -> "ServiceAccount":
        """Read a key file from the cloud console. Raises ValueError that says what is wrong with it."""
        try:
            fields = json.loads(file.read_text())
            key = load_pem_private_key(fields["private_key"].encode(), password=None)
            if not isinstance(key, RSAPrivateKey):
                raise TypeError(type(key).__name__)
            return cls(fields["client_email"], fields["private_key_id"], key)
        except OSError as error:
            raise ValueError(
                f"the service account file {shown(file)} cannot be read: {error.strerror}; "
                "point SERVICE_ACCOUNT_FILE at the key file of the project's service account"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f"{file} is not a service account key file (JSON with client_email, private_key_id and "
                "an RSA private_key); create a new key for the service account and use its file"
            ) from None

    def assertion(self, audience: str, now_s: float) -> str:
        """The signed assertion that is exchanged for a token."""
        claims = {
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": audience,
            "iat": int(now_s),
            "exp": int(now_s) + ASSERTION_S,
        }
        return jwt.encode(claims, self.private_key, algorithm="RS256", headers={"kid": self.private_key_id})


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    refresh_at: float
    useless_at: float


class AccessTokens:
    """The current access token. Concurrent callers share one exchange.

    After 90 % of its life a token is replaced in the background while it is still in use; if that fails,
    it is retried every few seconds, not with every message.
    """

    def __init__(
        self,
        account: ServiceAccount,
        token_url: str,
        client: VendorClient,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._account = account
        self._token_url = token_url
        self._client = client
        self._clock = clock
        self._token: _Token | None = None
        self._exchange: asyncio.Task[_Token] | None = None
        self._retry_at = float("-inf")

    async def get(self, *, timeout_s: float) -> str:
        """A token to send with. Raises NoToken."""
        token, now = self._token, self._clock()
        if token is not None and now < token.useless_at:
            if now >= max(token.refresh_at, self._retry_at):
                self._begin()
            return token.value
        exchange = self._begin()
        # The exchange is shared: a caller that gives up must not cancel it for the others.
        await asyncio.wait({exchange}, timeout=timeout_s)
        if not exchange.done():
            raise NoToken(SendResult(Outcome.NOT_SENT, code="auth.timeout"))
        if exchange.cancelled():
            raise NoToken(SendResult(Outcome.NOT_SENT, code="auth.closed"))
        return exchange.result().value

    def refuse(self, value: str) -> None:
        """The vendor refused this token: the next caller gets a new one. A newer token is kept."""
        if self._token is not None and self._token.value == value:
            self._token = None

    async def aclose(self) -> None:
        """Cancel a running exchange."""
        if self._exchange is not None:
            self._exchange.cancel()
            await asyncio.wait({self._exchange})

    def _begin(self) -> "asyncio.Task[_Token]":
        if self._exchange is None or self._exchange.done():
            self._exchange = asyncio.create_task(self._fetch(), name="fcm-access-token")
            self._exchange.add_done_callback(_consume_error)
        return self._exchange

    async def _fetch(self) -> _Token:
        started = self._clock()
        # Irrelevant after a success; after a failure it prevents one exchange per message.
        self._retry_at = started + RETRY_S
        answer = await self._client.request(
            "POST",
            self._token_url,
            timeout_s=EXCHANGE_S_MAX,
            data={"grant_type": GRANT, "assertion": self._account.assertion(self._token_url, started)},
        )
        if isinstance(answer, RequestFailed):
            raise NoToken(SendResult(Outcome.NOT_SENT, code=code_of(f"auth.{answer.code}")))
        value, life_s = answer.fields.get("access_token"), answer.fields.get("expires_in", ASSERTION_S)
        if answer.status == 200 and isinstance(value, str) and isinstance(life_s, int | float):
            self._token = _Token(value, started + life_s * _REFRESH_AT, started + life_s * _TRUSTED_UNTIL)
            return self._token
        refused = 400 <= answer.status < 500 and answer.status != 429
        raise NoToken(
            SendResult(
                # The message itself was never written, no matter what the token server says.
                Outcome.REJECTED if refused else Outcome.NOT_SENT,
                code=f"auth.{_oauth_code(answer)}",
                http_status=answer.status,
                retry_after_s=retry_after_s(answer),
            )
        )


def _oauth_code(answer: Answer) -> str:
    """The `error` of RFC 6749 section 5.2, else the HTTP status."""
    code = answer.fields.get("error")
    return code if isinstance(code, str) and _OAUTH_ERROR.fullmatch(code) else f"http_{answer.status}"


def _consume_error(task: "asyncio.Task[_Token]") -> None:
    """Consume the error of a background exchange: the next caller retries."""
    if not task.cancelled():
        task.exception()
