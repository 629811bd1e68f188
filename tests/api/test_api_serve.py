"""The server as a process: it starts, and it answers open requests before it stops."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from api_case import body
from api_server import settings_for
from pydantic import TypeAdapter

from api.app import create_app
from devstack.ports import free_port
from storage import api_keys
from storage.postgres import Pool

ROOT = Path(__file__).parents[2]
SERVE = "import settings; from api.serve import run; run(settings.load())"


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        return await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None


def test_the_first_request_builds_no_route(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(settings_for(database))
    built: list[object] = []

    def counted(self: object, type: object, **_: object) -> None:
        built.append(type)

    monkeypatch.setattr(TypeAdapter, "__init__", counted)
    for path in ("/v1/callbacks/twilio", "/v1/users/u/contacts", "/v1/unsubscribe/x", "/nowhere"):
        scope = {"type": "http", "method": "PUT", "path": path, "root_path": "", "headers": []}
        for route in app.router.routes:
            route.matches(scope)
    assert built == []


async def test_an_open_request_is_answered_before_the_server_stops(database: str, pool: Pool) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HERALD_DATABASE_URL": database,
        "HERALD_DEVELOPMENT": "true",
        "HERALD_SECRET_KEY": "tests-secret-8c1f6be2d40a97e35b12",
        "HERALD_API_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVE, cwd=ROOT, env=environment)
    try:
        async with asyncio.timeout(60):
            while (streams := await connected(port)) is None:
                await asyncio.wait([asyncio.create_task(process.wait())], timeout=0.05)
                assert process.returncode is None
            reader, writer = streams
            key = await api_keys.create(pool, "bank", "tests")
            content = json.dumps(body(idempotency_key="under way")).encode()
            writer.write(
                b"POST /v1/notifications HTTP/1.1\r\nHost: herald\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\n"
                + f"Authorization: Bearer {key}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            )
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
            process.send_signal(signal.SIGTERM)
            while (streams := await connected(port)) is not None:
                streams[1].close()
            writer.write(content)
            assert b" 202 " in await reader.readline()
            writer.close()
            assert await process.wait() in (0, -signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert await pool.fetchval("SELECT count(*) FROM notifications") == 1
