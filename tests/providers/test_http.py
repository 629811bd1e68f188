"""How requests end against servers that misbehave on the wire: whether the request may have been written."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from domain.outcome import Outcome
from providers import http
from providers.connections import ConnectionLimits
from providers.http import Answer, RequestFailed, VendorClient, Written

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(talk: Talk) -> AsyncGenerator[str]:
    """A server that runs `talk` for every connection, and closes it afterwards."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await listener.wait_closed()


@asynccontextmanager
async def client(url: str, limits: ConnectionLimits | None = None) -> AsyncGenerator[VendorClient]:
    made = VendorClient(url, limits=limits)
    try:
        yield made
    finally:
        await made.aclose()


async def _request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    return head + await reader.readexactly(length)


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def _post(
    url: str, *, timeout_s: float = 5, limits: ConnectionLimits | None = None
) -> Answer | RequestFailed:
    async with client(url, limits) as made:
        return await made.request("POST", "/send", timeout_s=timeout_s, json={"to": "+1"})


async def test_an_answer_comes_whole_with_lower_case_headers() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        writer.write(b'HTTP/1.1 201 Created\r\nX-Message-Id: m1\r\nContent-Length: 12\r\n\r\n{"sid":"S1"}')

    async with server(talk) as url:
        answer = await _post(url)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["x-message-id"], answer.fields) == (201, "m1", {"sid": "S1"})


async def test_refused_is_not_written() -> None:
    assert await _post(f"http://127.0.0.1:{_closed_port()}") == RequestFailed(
        Written.NO, "connection_refused"
    )


async def test_a_name_without_address_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert await _post("http://vendor.invalid") == RequestFailed(Written.NO, "dns")


@asynccontextmanager
async def unaccepting() -> AsyncGenerator[str]:
    """A server with a full backlog: the kernel accepts no further connection."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for one in (*waiting, listener):
            one.close()


async def test_a_connect_timeout_is_not_written() -> None:
    async with unaccepting() as url:
        ended = await _post(url, limits=ConnectionLimits(connect_s=0.2))
    assert ended == RequestFailed(Written.NO, "connect_timeout")


async def test_a_budget_that_ends_while_connecting_is_not_written() -> None:
    async with unaccepting() as url:
        ended = await _post(url, timeout_s=0.2, limits=ConnectionLimits(connect_s=30))
    assert isinstance(ended, RequestFailed)
    assert ended.written is Written.NO


async def test_tls_that_fails_is_not_written() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"this is not TLS\r\n")

    async with server(talk) as url:
        assert await _post(url.replace("http://", "https://")) == RequestFailed(Written.NO, "tls")


async def test_accept_then_close_may_be_written() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)

    async with server(talk) as url:
        assert await _post(url) == RequestFailed(Written.MAYBE, "connection_lost")


async def test_closing_at_once_may_be_written() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    async with server(talk) as url:
        assert await _post(url) == RequestFailed(Written.MAYBE, "connection_lost")


async def test_a_reset_may_be_written() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with server(talk) as url:
        assert await _post(url) == RequestFailed(Written.MAYBE, "connection_lost")


@pytest.mark.parametrize(("timeout_s", "read_s"), [(5, 0.2), (0.2, 30)], ids=["read timeout", "budget"])
async def test_a_black_hole_may_be_written(timeout_s: float, read_s: float) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(talk) as url:
        ended = await _post(url, timeout_s=timeout_s, limits=ConnectionLimits(read_s=read_s))
    assert ended == RequestFailed(Written.MAYBE, "timeout")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize(("timeout_s", "write_s"), [(5, 0.2), (0.2, 30)], ids=["write timeout", "budget"])
async def test_an_unread_body_may_be_written(timeout_s: float, write_s: float) -> None:
    """The vendor's side accepts and reads nothing: the kernel's buffers fill, and the rest waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = asyncio.get_running_loop().time()
        async with client(url, ConnectionLimits(write_s=write_s)) as made:
            ended = await made.request("POST", "/", timeout_s=timeout_s, content=b"x" * 8_000_000)
    assert ended == RequestFailed(Written.MAYBE, "timeout")
    assert asyncio.get_running_loop().time() - began < 2


async def test_an_answer_that_never_ends_is_bounded_by_the_budget() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            # A trickle: each byte comes well before the read timeout.
            await asyncio.sleep(0.02)

    async with server(talk) as url:
        ended = await _post(url, timeout_s=0.3, limits=ConnectionLimits(read_s=0.2))
    assert ended == RequestFailed(Written.MAYBE, "timeout")


async def test_half_an_answer_may_be_written() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n{"sid":')

    async with server(talk) as url:
        assert await _post(url) == RequestFailed(Written.MAYBE, "answer_cut_short")


@pytest.mark.parametrize(
    "garbage",
    [
        b"220 smtp.example ESMTP\r\n\r\n",
        b"\x00\xff\xfe\r\n\r\n",
        b"HTTP/1.1 2000 Fine\r\n\r\n",
        b"HTTP/9 x y\r\n\r\n",
    ],
)
async def test_a_garbage_status_line_may_be_written(garbage: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        writer.write(garbage)

    async with server(talk) as url:
        ended = await _post(url)
    assert ended == RequestFailed(Written.MAYBE, "answer_malformed")


async def test_a_body_that_does_not_decompress_may_be_written() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")

    async with server(talk) as url:
        assert await _post(url) == RequestFailed(Written.MAYBE, "answer_malformed")


async def test_an_endless_body_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_BYTES_MAX", 1000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b" " * 5000)
        await writer.drain()

    async with server(talk) as url:
        assert await _post(url) == RequestFailed(Written.MAYBE, "answer_too_large")


@pytest.mark.parametrize(("timeout_s", "pool_s"), [(5, 0.1), (0.2, 30)], ids=["pool timeout", "budget"])
async def test_no_place_in_the_pool_is_not_written(timeout_s: float, pool_s: float) -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        asked.set()
        await released.wait()
        writer.write(OK)

    limits = ConnectionLimits(connections_max=1, connect_s=0.1, pool_s=pool_s)
    async with server(talk) as url, client(url, limits) as made:
        first = asyncio.create_task(made.request("POST", "/", timeout_s=5))
        await asked.wait()
        second = await made.request("POST", "/", timeout_s=timeout_s)
        released.set()
        assert isinstance(await first, Answer)
    assert isinstance(second, RequestFailed)
    assert second.written is Written.NO


async def test_a_post_on_a_dropped_pooled_connection_is_never_repeated() -> None:
    requests: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await _request_of(reader))
        writer.write(OK)
        requests.append(await _request_of(reader))

    async with server(talk) as url, client(url) as made:
        assert isinstance(await made.request("POST", "/first", timeout_s=5), Answer)
        ended = await made.request("POST", "/second", timeout_s=5)
    assert ended == RequestFailed(Written.MAYBE, "connection_lost")
    assert len(requests) == 2


async def test_nothing_is_written_after_the_budget() -> None:
    asked = False

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = True

    async with server(talk) as url:
        assert await _post(url, timeout_s=0) == RequestFailed(Written.NO, "deadline_exceeded")
    assert not asked


async def test_a_cancelled_caller_is_cancelled() -> None:
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_of(reader)
        asked.set()
        await reader.read()

    async with server(talk) as url, client(url) as made:
        task = asyncio.create_task(made.request("POST", "/", timeout_s=5))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_redirects_and_cookies_are_not_followed() -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await _request_of(reader))
            writer.write(
                b"HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
            )

    async with server(talk) as url, client(url) as made:
        for _ in range(2):
            answer = await made.request("POST", "/", timeout_s=5)
            assert isinstance(answer, Answer)
            assert answer.status == 307
    assert len(heads) == 2
    assert not any(b"cookie" in head.lower() for head in heads)


@pytest.mark.parametrize(
    ("status", "vendor_form", "outcome"),
    [
        (400, True, Outcome.REJECTED),
        (401, False, Outcome.REJECTED),
        (404, False, Outcome.REJECTED),
        (308, False, Outcome.REJECTED),
        (303, False, Outcome.AMBIGUOUS),
        (408, False, Outcome.AMBIGUOUS),
        (413, False, Outcome.REJECTED),
        (429, False, Outcome.THROTTLED),
        (500, True, Outcome.AMBIGUOUS),
        (502, True, Outcome.AMBIGUOUS),
        (503, True, Outcome.UNAVAILABLE),
        (503, False, Outcome.AMBIGUOUS),
        (504, True, Outcome.AMBIGUOUS),
        (520, True, Outcome.AMBIGUOUS),
        (200, True, Outcome.AMBIGUOUS),
    ],
)
def test_the_meaning_of_a_status_alone(status: int, vendor_form: bool, outcome: Outcome) -> None:
    assert http.by_status(status, vendor_form=vendor_form).outcome is outcome


def test_a_too_large_message_does_not_affect_the_providers_health() -> None:
    assert http.by_status(400, vendor_form=False).about_provider
    assert not http.by_status(413, vendor_form=False).about_provider


NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120),
        ("0", 0),
        ("99999999999", http.RETRY_AFTER_S_MAX),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, wait_s: float | None) -> None:
    assert http.retry_after_s(Answer(429, {"retry-after": value}, b"", NOW)) == wait_s


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_an_object_has_no_fields(body: bytes) -> None:
    assert Answer(200, {}, body, NOW).fields == {}


@pytest.mark.parametrize(
    ("vendor_code", "code"),
    [(21211, "21211"), ("UNREGISTERED", "unregistered"), ("a b/ç", "a_b_"), ("x" * 100, "x" * 64)],
)
def test_codes_are_kept_in_one_alphabet(vendor_code: object, code: str) -> None:
    assert http.code_of(vendor_code) == code
