"""The API as it runs in production, inside the test process, on its own port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from api_case import ACCOUNT_SID, AUTH_TOKEN, SIGNING_KEY, VERIFY_TOKEN

from api.app import create_app
from api.serve import protocol
from devstack.ports import free_port
from settings import Settings

HERALD = Path(__file__).parents[2] / "herald.toml"
MANY_WRONG_KEYS = "key_failures_per_minute = 1_000_000"
"""For `config_with`: modules that send wrong keys on purpose send all of them from one address."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Pytest handles signals.
        yield


@asynccontextmanager
async def listening_server(config: uvicorn.Config, port: int = 0) -> AsyncIterator[int]:
    """A server without signal handlers; yields its port. Port 0: any free port."""
    # Without an explicit protocol asyncio leaves Nagle's algorithm on: 40 ms per request.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(60):
            while not server.started:
                assert not task.done(), "the server did not start"
                await asyncio.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def served(settings: Settings, port: int = 0) -> AsyncIterator[str]:
    """The API as in production; yields its URL."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=protocol(app, settings),
        ws="none",
        proxy_headers=False,
        lifespan="on",
        log_config=None,
        access_log=False,
    )
    async with listening_server(config, port) as taken:
        yield f"http://127.0.0.1:{taken}"


def settings_for(database: str, **others: object) -> Settings:
    """Settings with Postgres only: nothing listens on the ports of Valkey and Temporal."""
    values: dict[str, object] = {
        "database_url": database,
        "development": True,
        "secret_key": "tests-secret-8c1f6be2d40a97e35b12",
        "valkey_url": f"redis://127.0.0.1:{free_port()}/0",
        "temporal": {"address": f"127.0.0.1:{free_port()}", "ui_url": "http://ui.example"},
        "public_url": "https://herald.example",
        "providers": {
            "twilio": {"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "from": "+15005550006"},
            "mailgun": {
                "api_key": "key",
                "domain": "mail.example",
                "from_email": "herald@mail.example",
                "signing_key": SIGNING_KEY,
            },
            "whatsapp_cloud": {
                "phone_number_id": "106540352242922",
                "access_token": "token",
                "app_secret": "secret",
                "verify_token": VERIFY_TOKEN,
            },
        },
    }
    return Settings.model_validate(values | others)


def config_with(folder: Path, rules: str) -> Path:
    """A copy of herald.toml in this folder, with these rules in its section `[api]`."""
    config = folder / "herald.toml"
    config.write_text(f"{HERALD.read_text()}\n[api]\n{rules}\n")
    return config
