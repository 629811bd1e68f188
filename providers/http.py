"""HTTP to vendors: one pooled client a provider, one call that ends in an answer or a classified failure.

Whether a request may have been written decides what a failed send means. The connector says it: until it has
handed out a connection nothing was written, and from then on everything may have been.
"""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, cast
from urllib.parse import urlencode

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from domain.notification import Device
from domain.outcome import Outcome, SendResult
from providers.base import Verdict
from providers.connections import Body, Limits, Progress, progress, session

BODY_BYTES_MAX = 8 * 1024 * 1024
RETRY_AFTER_S_MAX = 86_400.0

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


class VendorClient:
    """One provider's connections, and the only way in which an adapter speaks to its vendor.

    HTTP/1.1 over a pool that is opened when it is needed; `base_url` may have a path of its own.
    """

    def __init__(self, base_url: str, *, limits: Limits | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._limits = limits or Limits()
        self._opened: aiohttp.ClientSession | None = None

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

        `path` may be a whole URL, and is spelled on the wire as it is then. Never raises for anything that
        the network or the vendor does.
        """
        if timeout_s <= 0:
            return NoAnswer(Written.NO, "no_time_left")
        sent, body = _content(json, data, content)
        if headers:
            sent.update(headers)
        if auth:
            sent["Authorization"] = _basic(*auth)
        reached = Progress()
        token = progress.set(reached)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, self._url(path, params), sent, body)
        except Exception as error:
            # Whatever a transport lets escape must not look like "nothing was sent".
            return _classify(error, reached)
        finally:
            progress.reset(token)

    def _url(self, path: str, params: Mapping[str, str] | None) -> URL:
        query = f"?{urlencode(params)}" if params else ""
        if path.startswith(("http://", "https://")):
            return URL(path + query, encoded=True)
        return URL(self._base_url + path + query)

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> Answer | NoAnswer:
        payload = None if body is None else Body(body, self._limits.write_s)
        async with self._session.request(
            method, url, headers=headers, data=payload, allow_redirects=False
        ) as response:
            taken = bytearray()
            async for chunk in response.content.iter_any():
                taken += chunk
                if len(taken) > BODY_BYTES_MAX:
                    response.close()
                    return NoAnswer(Written.MAYBE, "answer_too_large")
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, bytes(taken), datetime.now(UTC))

    @property
    def _session(self) -> aiohttp.ClientSession:
        # Within the running loop, which there may not be yet when the client is made.
        if self._opened is None:
            self._opened = session(self._limits)
        return self._opened

    async def aclose(self) -> None:
        """Close every connection."""
        if self._opened is not None:
            await self._opened.close()


def _content(
    fields: Any, form: Mapping[str, str | list[str]] | None, content: bytes | None
) -> tuple[dict[str, str], bytes | None]:
    """The body, and the headers that say what it is."""
    if fields is not None:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return {"Content-Type": "application/json"}, text.encode()
    if form is not None:
        return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(form, doseq=True).encode()
    return {}, content


def _basic(user: str, password: str) -> str:
    """RFC 7617."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


_NOT_WRITTEN: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientConnectorSSLError, "tls"),
    (aiohttp.ClientConnectorError, "connection_refused"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (TimeoutError, "timeout"),
)
_MAYBE_WRITTEN: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientPayloadError, "answer_cut_short"),
    (aiohttp.ClientResponseError, "answer_malformed"),
    (aiohttp.ClientError, "connection_lost"),
    (OSError, "connection_lost"),
)


def _classify(error: Exception, reached: Progress) -> NoAnswer:
    if not reached.connected:
        for kind, code in _NOT_WRITTEN:
            if isinstance(error, kind):
                return NoAnswer(Written.NO, code)
    if isinstance(error.__cause__, ContentEncodingError):
        return NoAnswer(Written.MAYBE, "answer_malformed")
    for kind, code in _MAYBE_WRITTEN:
        if isinstance(error, kind):
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
    if status == 408:
        # Who gave up waiting, and for what, is not said.
        return Verdict(Outcome.AMBIGUOUS)
    if status == 413:
        return Verdict(Outcome.REJECTED, about_provider=False)
    if 400 <= status < 500 or status in _NOT_PROCESSED_REDIRECTS:
        return Verdict(Outcome.REJECTED)
    return Verdict(Outcome.AMBIGUOUS)


def refused(answer: Answer, verdict: Verdict, code: object = None, wait_s: float | None = None) -> SendResult:
    """The result of a send that was not accepted. `code`: the vendor's own, else the HTTP status.

    `wait_s`: when to come back, as the vendor says in a way of its own. Its `Retry-After` goes before
    that, and what the table says comes last.
    """
    if answer.status == 429 and verdict.outcome is Outcome.AMBIGUOUS:
        # A 429 was not processed, whatever else it says.
        verdict = replace(verdict, outcome=Outcome.THROTTLED)
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
