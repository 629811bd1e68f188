"""HTTP/2 to one vendor over one kept connection, opened when needed and replaced when it ends."""

import asyncio
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from providers.http import Answer, RequestFailed, Written
from providers.push.h2_connection import H2Connection, connect
from providers.push.h2_stream import NotWritten, Unanswered

CONNECT_S_MAX = 3.0
"""For the connection and TLS, unless configured otherwise."""
IDLE_S_TRUSTED = 60.0
"""A connection that was idle for longer is checked (PING) before a message is sent over it."""
PING_S_MAX = 1.0


class H2Client:
    """Requests to one origin. Concurrent requests share a connection; only one of them opens it.

    `context` says which authorities to trust; HTTP/2 is added to it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        context: ssl.SSLContext,
        idle_s_trusted: float = IDLE_S_TRUSTED,
        connect_s: float = CONNECT_S_MAX,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "https" or parts.hostname is None:
            raise ValueError(f"{base_url} is not an https address: HTTP/2 is negotiated within TLS")
        self._host = parts.hostname
        self._port = parts.port or 443
        self._authority = parts.netloc.rpartition("@")[2]
        self._context = context
        self._context.set_alpn_protocols(["h2"])
        self._idle_s_trusted = idle_s_trusted
        self._connect_s = connect_s
        self._connection: H2Connection | None = None
        self._retiring: set[H2Connection] = set()
        self._opening = asyncio.Lock()

    async def post(
        self, path: str, headers: Sequence[tuple[str, str]], body: bytes, *, timeout_s: float
    ) -> Answer | RequestFailed:
        """POST within `timeout_s` seconds in total. Never raises because of the network.

        A request that was certainly not processed (GOAWAY, REFUSED_STREAM, a closed connection) is retried
        once on a new connection.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", path),
            *headers,
        ]
        for last in (False, True):
            try:
                connection = await self._connected(deadline)
                return await connection.request(fields, body, timeout_s=deadline - loop.time())
            except Unanswered as error:
                return RequestFailed(Written.MAYBE, error.code)
            except NotWritten as error:
                if last or error.code not in _RETRIED or loop.time() >= deadline:
                    return RequestFailed(Written.NO, error.code)
        raise AssertionError("unreachable: the second round always returns")

    async def aclose(self) -> None:
        """Close every connection."""
        connections = {*self._retiring, *({self._connection} if self._connection else ())}
        self._connection = None
        self._retiring.clear()
        await asyncio.gather(*(connection.aclose() for connection in connections))

    async def _connected(self, deadline: float) -> H2Connection:
        """The connection, or a new one if there is none to trust. Raises NotWritten."""
        loop = asyncio.get_running_loop()
        current = self._connection
        if current is not None and current.usable and current.idle_s < self._idle_s_trusted:
            return current
        try:
            async with asyncio.timeout_at(deadline), self._opening:
                return await self._replace(deadline - loop.time())
        except TimeoutError:
            raise NotWritten("connect_timeout") from None

    async def _replace(self, budget_s: float) -> H2Connection:
        current = self._connection
        if current is not None and current.usable:
            trusted = current.idle_s < self._idle_s_trusted
            if trusted or await current.ping(timeout_s=min(PING_S_MAX, budget_s / 2)):
                return current
        if current is not None:
            self._retire(current)
        self._connection = await connect(
            self._host, self._port, self._context, timeout_s=min(self._connect_s, budget_s)
        )
        return self._connection

    def _retire(self, connection: H2Connection) -> None:
        """Let its last streams end; it closes itself afterwards."""
        self._retiring = {old for old in self._retiring if not old.closed}
        if not connection.closed:
            connection.retire("replaced")
            self._retiring.add(connection)


_RETRIED = frozenset({"goaway", "refused_stream", "connection_lost", "silent", "closed"})
