"""A TCP proxy in front of Postgres that can lose connections at chosen moments."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from urllib.parse import urlsplit


class Loss(StrEnum):
    """When the proxy aborts the connection on which a client's message holds the `mark`."""

    BEFORE = "before the server sees it"
    AFTER = "after the server answered it, before the client sees the answer"


class Proxy:
    """Forwards to one server. `lose` arms it for one loss."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._mark = b""
        self._loss: Loss | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.lost = 0

    def lose(self, mark: bytes, loss: Loss) -> None:
        self._mark, self._loss = mark, loss

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        self._writers |= {writer, to_server}
        swallow = asyncio.Event()
        back = asyncio.create_task(self._back(from_server, writer, swallow))
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self._loss is not None and self._mark in data:
                    loss, self._loss = self._loss, None
                    self.lost += 1
                    if loss is Loss.BEFORE:
                        break
                    swallow.set()
                to_server.write(data)
                if swallow.is_set():
                    await back
                    break
        back.cancel()
        for end in (writer, to_server):
            end.transport.abort()
            self._writers.discard(end)

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallow: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if swallow.is_set():
                    # The server has answered, so the statement is complete.
                    return
                writer.write(data)

    def cut(self) -> None:
        """Lose every connection now."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def proxied(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the database, and how to reach the database through it."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, database_url.replace(f":{parts.port}/", f":{port}/")
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
