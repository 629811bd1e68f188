"""HTTP to vendors: one pooled client a provider, one call that ends in an answer or a classified failure.

The transport is aiohttp below httpx, which reports a refused connection, a reset and an answer that
never came by one and the same exception class. Whether the request may have been written is therefore
decided by the exception's cause, and, when the budget ends first, by how far the request had come.
"""

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from domain.notification import Device
from domain.outcome import Outcome, SendResult
from providers.base import Verdict

BODY_BYTES_MAX = 8 * 1024 * 1024
RETRY_AFTER_S_MAX = 86_400.0
POOL_MAX = 100
KEEP_ALIVE_S = 15
"""Idle connections are given up early: one that the vendor closed first makes a send ambiguous."""

_CODE = re.compile(r"[^a-z0-9_.:-]+")
_NOT_PROCESSED_REDIRECTS = frozenset({301, 302, 307, 308})


class Written(StrEnum):
    """Whether the vendor may have seen a request that got no usable answer."""

    NO = "no"
    """Refused, no connection in time, no address: nothing was written."""
    MAYBE = "maybe"
    """Everything after a connection was there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime

    @property
    def json(self) -> Any:
        """The body as JSON, None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def fields(self) -> dict[str, Any]:
        """The body as a JSON object, empty when it is anything else."""
        value = self.json
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A request without a usable answer. `code` says in our words how it ended."""

    written: Written
    code: str

    @property
    def result(self) -> SendResult:
        """What it means for a send."""
        outcome = Outcome.NOT_SENT if self.written is Written.NO else Outcome.AMBIGUOUS
        return SendResult(outcome, code=self.code)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The longest each step of one call may take, in seconds. The call's own budget bounds them all."""

    connect_s: float = 3.0
    pool_s: float = 2.0
    write_s: float = 5.0
    read_s: float = 30.0

    def within(self, budget_s: float) -> httpx.Timeout:
        """These timeouts for one call. The budget itself is kept by the clock of the whole call."""
        return httpx.Timeout(
            connect=min(self.connect_s, budget_s),
            # aiohttp counts the connecting in with the waiting for a place in the pool.
            pool=min(self.pool_s + self.connect_s, budget_s),
            write=min(self.write_s, budget_s),
            read=min(self.read_s, budget_s),
        )


@dataclass(slots=True)
class _Progress:
    """How far a request has come, told by the transport itself."""

    begun: bool = False
    connected: bool = False

    @property
    def written(self) -> Written:
        """Without word from the transport the request may have been written."""
        return Written.NO if self.begun and not self.connected else Written.MAYBE


_progress: ContextVar[_Progress] = ContextVar("progress")


def _tracing() -> aiohttp.TraceConfig:
    async def begin(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        _progress.get().begun = True

    async def connected(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        _progress.get().connected = True

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begin)
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


def aiohttp_transport(
    *, pool_max: int = POOL_MAX, verify: ssl.SSLContext | None = None
) -> httpx.AsyncBaseTransport:
    """HTTP/1.1 with a pool of at most `pool_max` connections. `verify`: the trusted authorities."""
    context = verify or ssl.create_default_context()

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=pool_max, keepalive_timeout=KEEP_ALIVE_S, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_tracing()],
        )

    return AiohttpTransport(client=session, verify=context)


class VendorClient:
    """One provider's connections, and the only way in which an adapter speaks to its vendor.

    `transport` makes the transport on first use; `base_url` may have a path of its own.
    """

    def __init__(
        self,
        base_url: str,
        *,
        transport: Callable[[], httpx.AsyncBaseTransport] = aiohttp_transport,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeouts = timeouts or Timeouts()
        self._client = httpx.AsyncClient(
            transport=transport(),
            headers={"User-Agent": "herald/1"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            trust_env=False,
            follow_redirects=False,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        json: Any = None,
        data: Mapping[str, str | list[str]] | None = None,
        content: bytes | None = None,
    ) -> Answer | NoAnswer:
        """Make one request within `timeout_s` seconds, everything included.

        `path` may be a whole URL. Never raises for anything that the network or the vendor does.
        """
        if timeout_s <= 0:
            return NoAnswer(Written.NO, "no_time_left")
        progress = _Progress()
        url = path if path.startswith(("http://", "https://")) else self._base_url + path
        request = self._client.build_request(
            method,
            url,
            params=params,
            headers=headers,
            json=json,
            data=data,
            content=content,
            timeout=self._timeouts.within(timeout_s),
        )
        token = _progress.set(progress)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request, httpx.BasicAuth(*auth) if auth else None)
        except TimeoutError:
            return NoAnswer(progress.written, "timeout")
        except Exception as error:
            # Whatever a transport lets escape must not look like "nothing was sent".
            return _classify(error, progress)
        finally:
            _progress.reset(token)

    async def _exchange(self, request: httpx.Request, auth: httpx.Auth | None) -> Answer | NoAnswer:
        response = await self._client.send(request, auth=auth, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    return NoAnswer(Written.MAYBE, "answer_too_large")
        finally:
            await response.aclose()
        return Answer(response.status_code, _lower(response.headers), bytes(body), datetime.now(UTC))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


_NOT_WRITTEN: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientConnectorSSLError, "tls"),
    (aiohttp.ClientConnectorError, "connection_refused"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
)
_MAYBE_WRITTEN: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ServerTimeoutError, "timeout"),
    (aiohttp.ClientPayloadError, "answer_cut_short"),
    (aiohttp.ClientResponseError, "answer_malformed"),
    (httpx.DecodingError, "answer_malformed"),
    (aiohttp.ClientError, "connection_lost"),
    (OSError, "connection_lost"),
)


def _classify(error: Exception, progress: _Progress) -> NoAnswer:
    # The class that httpx gives to aiohttp's errors tells nothing: all but a few are its ConnectTimeout.
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if not progress.connected:
        for kind, code in _NOT_WRITTEN:
            if isinstance(cause, kind):
                return NoAnswer(Written.NO, code)
    for kind, code in _MAYBE_WRITTEN:
        if isinstance(cause, kind):
            return NoAnswer(Written.MAYBE, code)
    return NoAnswer(Written.MAYBE, code_of(f"client_error.{type(error).__name__}"))


def code_of(vendor_code: object) -> str:
    """A vendor's code as we keep it: lower case, `[a-z0-9_.:-]`, at most 64 characters.

    Only codes belong here; a vendor's free text may hold the recipient and is never kept.
    """
    return _CODE.sub("_", str(vendor_code).lower())[:64]


def retry_after_s(answer: Answer) -> float | None:
    """The wait that `Retry-After` asks for, as seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    value = answer.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_S_MAX)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return bounded_wait_s((until.replace(tzinfo=until.tzinfo or UTC) - answer.received_at).total_seconds())


def bounded_wait_s(wait_s: float) -> float:
    """A vendor's wait, never negative and at most a day."""
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def by_status(status: int, *, vendor_form: bool) -> Verdict:
    """What an HTTP status means where the vendor's own code says nothing.

    `vendor_form`: the body is the vendor's own error form. A 503 is "not processed" only then: one
    from something in between says nothing about what lies behind it. Statuses that nobody
    documents are ambiguous.
    """
    if status == 429:
        return Verdict(Outcome.THROTTLED)
    if status == 503 and vendor_form:
        return Verdict(Outcome.UNAVAILABLE)
    if 400 <= status < 500 or status in _NOT_PROCESSED_REDIRECTS:
        return Verdict(Outcome.REJECTED)
    return Verdict(Outcome.AMBIGUOUS)


def refused(answer: Answer, verdict: Verdict, code: object = None, wait_s: float | None = None) -> SendResult:
    """The result of a send that was not accepted. `code`: the vendor's own, else the HTTP status.

    `wait_s`: when to come back, as the vendor says in a way of its own. Its `Retry-After` goes before
    that, and what the table says comes last.
    """
    waits_s = (
        retry_after_s(answer),
        None if wait_s is None else bounded_wait_s(wait_s),
        verdict.retry_after_s,
    )
    return SendResult(
        verdict.outcome,
        code=code_of(f"http_{answer.status}" if code is None else code),
        http_status=answer.status,
        retry_after_s=next((wait_s for wait_s in waits_s if wait_s is not None), None),
        address_verdict=verdict.address,
        about_provider=verdict.about_provider,
    )


class OverHttp:
    """What adapters over HTTP share whose vendor reaches no devices. `_client`: the vendor's connections."""

    _client: VendorClient

    def address_of(self, device: Device) -> str | None:
        """None: neither SMS nor mail reaches devices."""
        return None

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()
