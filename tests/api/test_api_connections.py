"""Connections: deadlines of heads, bodies and readers, how many there may be, and requests that proxies and
Herald could understand differently.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
from api_server import listening_server
from starlette.types import Receive, Scope, Send
from waiting import until

from api.connections import ConnectionLimits, Connections
from api.protocol import HEADERS_MAX, PIPELINED_MAX, QUIET_BYTES_MAX, BoundedHttp

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SOON = {"sweep_s": 0.02, "head_s": 0.1, "idle_s": 0.1, "answered_s": 0.1, "unread_s": 0.1}
WITHIN_S = 60


class Served:
    """A server with these limits, whose answer is the request as it was understood."""

    def __init__(self, **limits: Any) -> None:
        self.refused: list[str] = []
        self.connections = Connections(ConnectionLimits(**limits), self.refused.append)
        self.understood: list[tuple[str, str, bytes, int]] = []
        self.port = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", not scope["path"].startswith("/unread")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.understood.append((scope["method"], scope["path"], body, len(scope["headers"])))
        size = 30_000_000 if scope["path"] == "/large" else 2
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    async def open(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        return reader, writer

    async def until(self, holds: Callable[[], bool]) -> None:
        async def held() -> bool:
            return holds()

        await until(held)

    async def answer(self, sent: bytes) -> bytes:
        """Everything that is answered until the server closes the connection."""
        reader, writer = await self.open(sent)
        try:
            async with asyncio.timeout(WITHIN_S):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Served]:
    server = Served(**limits)
    config = uvicorn.Config(
        server.app,
        http=partial(BoundedHttp, connections=server.connections),  # pyright: ignore[reportArgumentType] (it is called as the class would be)
        ws="none",
        proxy_headers=False,
        interface="asgi3",
        lifespan="off",
        timeout_graceful_shutdown=1,
        log_config=None,
        access_log=False,
    )
    async with listening_server(config) as server.port:
        yield server


def has_every_header(answer: bytes) -> bool:
    """Whether a refusal of the protocol has the headers of the application's answers."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return all(f"{name}: ".encode() in head for name in ("x-content-type-options", "x-request-id")) and (
        b"cache-control: no-store" in head
    )


@pytest.mark.parametrize(
    "sent", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nX: " + b"x" * 999]
)
async def test_a_slow_head_is_answered_408(sent: bytes) -> None:
    async with serving(**SOON) as server:
        answer = await server.answer(sent)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "head_too_slow"' in answer
        assert has_every_header(answer)
        assert b"Connection: close" in answer
        assert server.refused == ["head_too_slow"]


async def test_a_head_that_drips_is_slow_all_the_same() -> None:
    async with serving(**SOON) as server:
        reader, writer = await server.open(GET)
        await reader.readuntil(b"xx")

        async def drip() -> None:
            for byte in GET * 10_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        await server.until(lambda: server.refused == ["head_too_slow"])
        dripping.cancel()
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", GET])
async def test_an_idle_connection_is_closed_without_an_answer(sent: bytes) -> None:
    async with serving(**SOON) as server:
        answer = await server.answer(sent)
        assert answer.count(b"HTTP/1.1 ") == (1 if sent == GET else 0)
        assert server.refused == []


async def test_the_rest_of_an_answered_request_may_not_drip() -> None:
    async with serving(**SOON) as server:
        sent = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        answer = await server.answer(sent + b"x")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.refused == ["body_too_slow"]


async def test_a_client_that_does_not_read_is_dropped() -> None:
    async with serving(**{**SOON, "idle_s": 1000}) as server:
        _, writer = await server.open(GET.replace(b"/ ", b"/large "))
        await server.until(lambda: bool(server.refused) and not len(server.connections))
        assert server.refused == ["response_unread"]
        writer.close()


async def test_connections_above_the_maximum_are_answered_503() -> None:
    async with serving(connections_max=2) as server:
        held = [await server.open(GET) for _ in range(2)]
        for reader, _ in held:
            await reader.readuntil(b"xx")
        answer = await server.answer(b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert has_every_header(answer)
        assert server.refused == ["connections_exhausted"]
        held[0][1].close()
        await server.until(lambda: len(server.connections) <= 1)
        reader, writer = await server.open(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        held[1][1].close()


async def test_one_address_may_have_fewer() -> None:
    async with serving(connections_max=100, per_address_max=1) as server:
        reader, writer = await server.open(GET)
        await reader.readuntil(b"xx")
        assert (await server.answer(b"")).startswith(b"HTTP/1.1 503 ")
        writer.close()


async def test_idle_connections_go_early_when_most_are_taken() -> None:
    async with serving(**{**SOON, "idle_s": 1000}, connections_max=2, idle_busy_s=0.05) as server:
        first, second = await server.open(), await server.open()
        for reader, writer in (first, second):
            async with asyncio.timeout(WITHIN_S):
                assert await reader.read() == b""
            writer.close()


REFUSED = {
    "both lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "another encoding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: a\n\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "another version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a chunk size in hex notation": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "an endless chunk size": CHUNKED + b"fffffffffffffffff\r\nx",
    "a chunk without an end": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "a line feed in an extension": CHUNKED + b"1;a\nb\r\nx\r\n0\r\n\r\n",
}
TOO_LARGE = {
    "many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * HEADERS_MAX + b"\r\n",
    "an endless header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2 * QUIET_BYTES_MAX,
    "an endless path": b"GET /" + b"x" * 2 * QUIET_BYTES_MAX,
    "an endless extension": CHUNKED + b"1;a=" + b"x" * 2 * QUIET_BYTES_MAX,
    "an endless trailer": CHUNKED + b"1\r\nx\r\n0\r\nX: " + b"x" * 2 * QUIET_BYTES_MAX,
    "endless trailers": CHUNKED + b"1\r\nx\r\n0\r\n" + b"X: y\r\n" * QUIET_BYTES_MAX,
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_be_understood_differently_is_refused(name: str) -> None:
    async with serving(**SOON) as server:
        answer = await server.answer(REFUSED[name])
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b'"code": "malformed_request"' in answer
        assert has_every_header(answer)
        assert [request for request in server.understood if request[2]] == []


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_what_has_no_end_is_refused(name: str) -> None:
    async with serving(**{**SOON, "head_s": 1000, "answered_s": 1000}) as server:
        reader, writer = await server.open(TOO_LARGE[name])

        async def goes_on() -> bool:
            writer.write(b"x" * 1000)
            return bool(server.refused)

        await until(goes_on)
        assert server.refused == ["head_too_large"]
        with suppress(ConnectionResetError):
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        writer.close()


@pytest.mark.parametrize(
    ("sent", "understood"),
    [
        (CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n", [("POST", "/", b"x" * 1000, 2)]),
        (CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n", [("POST", "/", b"x", 2)]),
        # A trailer is no header.
        (CHUNKED + b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n", [("POST", "/", b"x", 2)]),
        (b"GET http://elsewhere/v1/x HTTP/1.1\r\nHost: a\r\n\r\n", [("GET", "/v1/x", b"", 1)]),
        (GET * 3, [("GET", "/", b"", 1)] * 3),
        # What follows a request to upgrade is not read, and the connection is closed.
        (GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET, [("GET", "/", b"", 3)]),
        (GET[:-2] + b"Connection: close\r\n\r\n" + GET, [("GET", "/", b"", 2)]),
    ],
)
async def test_what_is_valid_is_understood(sent: bytes, understood: list[Any]) -> None:
    async with serving(**SOON) as server:
        await server.answer(sent)
        assert server.understood == understood
        assert server.refused == []


async def test_a_client_that_expects_it_is_told_to_continue() -> None:
    async with serving() as server:
        reader, writer = await server.open(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        writer.write(b"hello")
        await reader.readuntil(b"xx")
        assert server.understood == [("POST", "/", b"hello", 3)]
        writer.close()


async def test_too_many_requests_in_advance_end_the_connection() -> None:
    async with serving(**SOON) as server:
        await server.answer(GET * (PIPELINED_MAX + 50))
        assert server.refused == ["malformed_request"]
        assert len(server.understood) <= PIPELINED_MAX + 2
