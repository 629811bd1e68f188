"""The API over real HTTP: uvicorn on a port of its own, against the module's database."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import pytest
import pytest_asyncio
import uvicorn
from api_case import ACCOUNT_SID, AUTH_TOKEN, SIGNING_KEY, Parked, Submit

from api.app import create_app
from devstack.ports import free_port
from settings import Settings
from storage import api_keys
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are pytest's.
        yield


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """The API as it runs in production, but for its signals; yields its URL."""
    # The protocol is named, or asyncio would leave Nagle's algorithm on: 40 ms a request.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(settings), http="h11", lifespan="on", log_config=None, access_log=False
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(10):
            while not server.started:
                assert not task.done(), "the API did not start"
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


def settings_for(database: str, **others: object) -> Settings:
    """Settings with nothing but Postgres: Valkey and Temporal are on ports where nobody listens."""
    values: dict[str, object] = {
        "database_url": database,
        "secret_key": "a secret of the tests",
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
        },
    }
    return Settings.model_validate(values | others)


@pytest_asyncio.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, size_max=4)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="module")
async def ledger(pool: Pool) -> AsyncIterator[Ledger]:
    """What a worker has."""
    ledger = Ledger(pool)
    yield ledger
    await ledger.close(timeout_s=5)


@pytest_asyncio.fixture(scope="module")
async def url(database: str) -> AsyncIterator[str]:
    async with served(settings_for(database)) as url:
        yield url


@pytest_asyncio.fixture(scope="module")
async def api(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of the tenant `bank`."""
    key = await api_keys.create(pool, "bank", "tests")
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20
    ) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def other(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of another tenant."""
    key = await api_keys.create(pool, "shop", "tests")
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20
    ) as client:
        yield client


@pytest.fixture
def submit(api: httpx.AsyncClient) -> Submit:
    """Submits a notification of a new user: `shown = await submit(channels=["sms"])`."""
    return Submit(api)


@pytest.fixture
def parked(submit: Submit, ledger: Ledger) -> Parked:
    """Makes dead letters: `id = await parked()`."""
    return Parked(submit, ledger)
