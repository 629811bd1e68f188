"""HTTP to vendors: one pooled client per provider, one call that returns an answer or a classified failure.

What a failed send means depends on whether the request may have been written. The connector decides: before
it hands out a connection nothing was written, and after that everything may have been.
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
from providers.base import CodeMeaning
from providers.connections import Body, ConnectionLimits, Progress, progress, session

BODY_BYTES_MAX = 8 * 1024 * 1024
RETRY_AFTER_S_MAX = 86_400.0

_CODE = re.compile(r"[^a-z0-9_.:-]+")
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no header may contain. aiohttp would raise only once it is connected, when nobody can say any more
that nothing was sent.
"""
_NOT_PROCESSED_REDIRECTS = frozenset({301, 302, 307, 308})


class Written(StrEnum):
    """Whether the vendor may have seen a request without a usable answer."""

    NO = "no"
    """Refused, no connection in time, no DNS: nothing was written."""
    MAYBE = "maybe"
    """Everything after the connection was established."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime

    @property
    def json(self) -> Any:
        """The body as JSON; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def fields(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is anything else."""
        value = self.json
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request without a usable answer. `code` is our own, and says what happened."""

    written: Written
    code: str

    @property
    def result(self) -> SendResult:
        """The result of a send that failed this way."""
        outcome = Outcome.NOT_SENT if self.written is Written.NO else Outcome.AMBIGUOUS
        return SendResult(outcome, code=self.code)


class VendorClient:
    """One provider's connections, and the only way for an adapter over HTTP/1.1 to reach its vendor.

    The pool is opened when it is first needed. `base_url` may include a path.
    """

    def __init__(self, base_url: str, *, limits: ConnectionLimits | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._limits = limits or ConnectionLimits()
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
    ) -> Answer | RequestFailed:
        """Make one request within `timeout_s` seconds in total.

        `path` may be a complete URL, which is then sent unchanged. Never raises because of the network or
        the vendor.
        """
        if timeout_s <= 0:
            return RequestFailed(Written.NO, "deadline_exceeded")
        sent, body = _content(json, data, content)
        if headers:
            sent.update(headers)
        if auth:
            sent["Authorization"] = _basic(*auth)
        if any(_UNSENDABLE.search(name + value) for name, value in sent.items()):
            return RequestFailed(Written.NO, "header_invalid")
        reached = Progress()
        token = progress.set(reached)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, self._url(path, params), sent, body)
        except Exception as error:
            # Once connected, no unexpected error may look like "nothing was sent".
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
    ) -> Answer | RequestFailed:
        payload = None if body is None else Body(body, self._limits.write_s)
        async with self._session.request(
            method, url, headers=headers, data=payload, allow_redirects=False
        ) as response:
            taken = bytearray()
            async for chunk in response.content.iter_any():
                taken += chunk
                if len(taken) > BODY_BYTES_MAX:
                    response.close()
                    return RequestFailed(Written.MAYBE, "answer_too_large")
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, bytes(taken), datetime.now(UTC))

    @property
    def _session(self) -> aiohttp.ClientSession:
        # Needs the running loop, which may not exist yet when the client is made.
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


def _classify(error: Exception, reached: Progress) -> RequestFailed:
    if not reached.connected:
        for kind, code in _NOT_WRITTEN:
            if isinstance(error, kind):
                return RequestFailed(Written.NO, code)
        return RequestFailed(Written.NO, code_of(f"client_error.{type(error).__name__}"))
    if isinstance(error.__cause__, ContentEncodingError):
        return RequestFailed(Written.MAYBE, "answer_malformed")
    for kind, code in _MAYBE_WRITTEN:
        if isinstance(error, kind):
            return RequestFailed(Written.MAYBE, code)
    return RequestFailed(Written.MAYBE, code_of(f"client_error.{type(error).__name__}"))


def code_of(vendor_code: object) -> str:
    """A vendor's code as we store it: lower case, `[a-z0-9_.:-]`, at most 64 characters.

    For codes only: a vendor's free text may contain the recipient, and is never stored.
    """
    return _CODE.sub("_", str(vendor_code).lower())[:64]


def retry_after_s(answer: Answer) -> float | None:
    """The wait in `Retry-After`, given in seconds or as an HTTP date (RFC 9110, 10.2.3)."""
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
    """A vendor's wait, limited to between zero and a day."""
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def by_status(status: int, *, vendor_form: bool) -> CodeMeaning:
    """What an HTTP status means where the vendor's own code says nothing.

    `vendor_form`: the body is the vendor's own error form. Only then does a 503 mean "not processed": one
    from an intermediary says nothing about the vendor. Undocumented statuses are ambiguous.
    """
    if status == 429:
        return CodeMeaning(Outcome.THROTTLED)
    if status == 503 and vendor_form:
        return CodeMeaning(Outcome.UNAVAILABLE)
    if status == 408:
        # It does not say who timed out, or waiting for what.
        return CodeMeaning(Outcome.AMBIGUOUS)
    if status == 413:
        return CodeMeaning(Outcome.REJECTED, about_provider=False)
    if 400 <= status < 500 or status in _NOT_PROCESSED_REDIRECTS:
        return CodeMeaning(Outcome.REJECTED)
    return CodeMeaning(Outcome.AMBIGUOUS)


def refused(
    answer: Answer, meaning: CodeMeaning, code: object = None, wait_s: float | None = None
) -> SendResult:
    """The result of a send that was not accepted. `code`: the vendor's own, else the HTTP status.

    `wait_s`: the wait that the vendor states in its own way. `Retry-After` takes precedence over it, and it
    over the table.
    """
    if answer.status == 429 and meaning.outcome is Outcome.AMBIGUOUS:
        # A 429 was not processed, no matter what else it says.
        meaning = replace(meaning, outcome=Outcome.THROTTLED)
    waits_s = (
        retry_after_s(answer),
        None if wait_s is None else bounded_wait_s(wait_s),
        meaning.retry_after_s,
    )
    return SendResult(
        meaning.outcome,
        code=code_of(f"http_{answer.status}" if code is None else code),
        http_status=answer.status,
        retry_after_s=next((wait_s for wait_s in waits_s if wait_s is not None), None),
        address_verdict=meaning.address,
        about_provider=meaning.about_provider,
    )


class HttpProvider:
    """The common part of adapters over HTTP, except push. `_client`: the vendor's connections."""

    _client: VendorClient

    def address_of(self, device: Device) -> str | None:
        """None: these channels do not go to devices."""
        return None

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()
