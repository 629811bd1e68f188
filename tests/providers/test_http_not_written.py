"""A request that cannot be written is known not to have been: it costs no wait for a receipt."""

import asyncio

import pytest

from domain.outcome import Outcome
from providers import http
from providers.http import RequestFailed, VendorClient, Written

KEY = "re_8c1f6be2d40a97e3"
UNSENDABLE = [
    f"{KEY}\n",
    f"{KEY}\r\nX-Other: 1",
    f"{KEY}\0",
    f"{KEY}\x01",
    f"{KEY}\x7f",
    f"{KEY}\udcff",
    f"\t{KEY}",
]


@pytest.mark.parametrize("key", UNSENDABLE, ids=ascii)
@pytest.mark.parametrize("body", [{"json": {"to": "+1"}}, {}], ids=["with a body", "without"])
async def test_a_header_that_cannot_be_written_is_not_written(key: str, body: dict[str, object]) -> None:
    connected = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        client = VendorClient(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        for headers in ({"Authorization": f"Bearer {key}"}, {f"X-{key}": "1"}):
            ended = await client.request("POST", "/send", timeout_s=5, headers=headers, **body)  # pyright: ignore[reportArgumentType] (a body or none)
            assert ended == RequestFailed(Written.NO, "header_invalid")
            assert ended.result.outcome is Outcome.NOT_SENT
        await client.aclose()
    assert not connected.is_set()


@pytest.mark.parametrize(
    "base", ["http://[::1", "http://vendor:port", "vendor.example", "http://", "ftp://vendor.example"]
)
async def test_an_address_that_cannot_be_called_is_not_written(base: str) -> None:
    client = VendorClient(base)
    ended = await client.request("POST", "/send", timeout_s=5, json={})
    await client.aclose()
    assert isinstance(ended, RequestFailed)
    assert ended.written is Written.NO


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), KeyError("x"), OSError("x")], ids=repr)
async def test_any_error_before_the_connection_is_not_written(monkeypatch, error: Exception) -> None:
    def fail(*_: object) -> object:
        raise error

    monkeypatch.setattr(http, "session", fail)
    ended = await VendorClient("http://127.0.0.1:1").request("POST", "/send", timeout_s=5, json={})
    assert isinstance(ended, RequestFailed)
    assert ended.written is Written.NO
