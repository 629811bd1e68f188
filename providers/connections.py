"""The connections below providers/http.py: aiohttp's pool, and two things that it lacks."""

import asyncio
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.payload import BytesPayload
from aiohttp.tracing import Trace

USER_AGENT = "herald/0.1.0"
"""In the form that Meta's document requires: `name/major.minor.patch`."""
KEEP_ALIVE_S = 15
"""Idle connections are closed early: one that the vendor closed first makes a send ambiguous."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Maximum connections to one provider per process, and the timeout of each step of a call.

    Timeouts are in seconds; the budget of the call bounds them all.
    """

    connections_max: int = 100
    pool_s: float = 2.0
    """For a free connection, when all are in use. aiohttp counts it together with DNS and connecting: all of
    them take at most `pool_s` + `connect_s`.
    """
    connect_s: float = 3.0
    """For the connection to one address, and TLS."""
    write_s: float = 5.0
    """For writing the request's body."""
    read_s: float = 30.0
    """For the start of the answer, and between two chunks of it."""


@dataclass(slots=True)
class Progress:
    """How far a request has got. Once it has its connection, the next step writes it."""

    connected: bool = False


progress: ContextVar[Progress] = ContextVar("progress")


class _Connector(aiohttp.TCPConnector):
    """A pool that records in `progress` when a request has its connection."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (the name is aiohttp's)
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        progress.get().connected = True
        return connection


class Body(BytesPayload):
    """A body with a write timeout: aiohttp has timeouts only for connecting and reading."""

    def __init__(self, value: bytes, write_s: float) -> None:
        super().__init__(value)
        self._write_s = write_s

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        async with asyncio.timeout(self._write_s):
            await super().write_with_length(writer, content_length)


@cache
def _trusted() -> ssl.SSLContext:
    # Loaded once for all vendors.
    return ssl.create_default_context()


def session(limits: ConnectionLimits) -> aiohttp.ClientSession:
    """A pool for HTTP/1.1; needs a running loop. No cookies, and no proxies from the environment."""
    return aiohttp.ClientSession(
        connector=_Connector(limit=limits.connections_max, keepalive_timeout=KEEP_ALIVE_S, ssl=_trusted()),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(
            total=None,
            # aiohttp counts connecting and waiting for a free connection together.
            connect=limits.pool_s + limits.connect_s,
            sock_connect=limits.connect_s,
            sock_read=limits.read_s,
        ),
    )
