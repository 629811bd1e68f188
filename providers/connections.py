"""The connections below providers/http.py: aiohttp's pool, and two things that it does not do by itself."""

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
"""Meta's document asks for `name/major.minor.patch`."""
KEEP_ALIVE_S = 15
"""Idle connections are given up early: one that the vendor closed first makes a send ambiguous."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections one provider has in a process, and the longest each step of a call may take.

    Times are in seconds; the call's own budget bounds them all.
    """

    connections_max: int = 100
    pool_s: float = 2.0
    """For a place among the connections, where all are in use."""
    connect_s: float = 3.0
    """For an address, the connection and its TLS."""
    write_s: float = 5.0
    """For the request's body."""
    read_s: float = 30.0
    """For the answer to begin, and between two pieces of it."""


@dataclass(slots=True)
class Progress:
    """How far a request has come: the next step after its connection is there writes it."""

    connected: bool = False


progress: ContextVar[Progress] = ContextVar("progress")


class _Connector(aiohttp.TCPConnector):
    """A pool that notes in `progress` when a request has got its connection."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's own name for it)
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        progress.get().connected = True
        return connection


class Body(BytesPayload):
    """A body that has to be taken within a time: aiohttp bounds the connecting and the reading only."""

    def __init__(self, value: bytes, write_s: float) -> None:
        super().__init__(value)
        self._write_s = write_s

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        async with asyncio.timeout(self._write_s):
            await super().write_with_length(writer, content_length)


@cache
def _trusted() -> ssl.SSLContext:
    # Read once for all vendors.
    return ssl.create_default_context()


def session(limits: Limits) -> aiohttp.ClientSession:
    """A pool for HTTP/1.1, within a running loop. It keeps no cookies and asks no environment for proxies."""
    return aiohttp.ClientSession(
        connector=_Connector(limit=limits.connections_max, keepalive_timeout=KEEP_ALIVE_S, ssl=_trusted()),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(
            total=None,
            # aiohttp counts the connecting in with the waiting for a place.
            connect=limits.pool_s + limits.connect_s,
            sock_connect=limits.connect_s,
            sock_read=limits.read_s,
        ),
    )
