"""The tests' servers: each is started on first use, once per session, on a free port."""

import itertools
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from devstack import binaries, herald
from devstack.ports import Ports, free_port
from devstack.postgres import Postgres
from devstack.process import Process
from devstack.temporal import Temporal, server_args
from devstack.valkey import Valkey
from simulators.control import Simulators
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool

# No deadline: the speed of an example depends on the machine, not on the property.
_ANY_PACE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
# Deterministic: the same code always has the same result. To search new examples:
# `make test ARGS="--hypothesis-profile=search"`.
hypothesis_settings.register_profile("herald", derandomize=True, **_ANY_PACE)
hypothesis_settings.register_profile("search", max_examples=3000, **_ANY_PACE)
hypothesis_settings.load_profile("herald")

_TEMPLATE = "herald_template"
_LONGEST = ("scenarios/test_scenarios.py", "privacy/", "console/", "wiring/", "devstack/")
"""Files with the slowest tests: they start first, so that no process runs one of them at the end."""
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the rest in their order."""

    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((place for place, name in enumerate(_LONGEST) if file.startswith(name)), len(_LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """Where the session's servers keep their data; removed at the end, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="herald-tests-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest_asyncio.fixture(scope="session")
async def postgres(server_dir: Path) -> AsyncIterator[Postgres]:
    """A Postgres server of the session. `postgres.url(database)` is how to reach a database."""
    server = Postgres(server_dir / "postgres", free_port(), durable=False)
    process = Process(server.part(), server_dir / "logs")
    await process.start()
    yield server
    await process.stop()


@pytest_asyncio.fixture(scope="session")
async def _template(postgres: Postgres) -> str:
    from storage.migrate import migrate

    await postgres.ensure_database(_TEMPLATE)
    await migrate(postgres.url(_TEMPLATE))
    return _TEMPLATE


@asynccontextmanager
async def _database(postgres: Postgres, template: str) -> AsyncGenerator[str]:
    name = f"test_{next(_numbers)}"
    await _execute(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield postgres.url(name)
    await _execute(postgres, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest_asyncio.fixture(scope="module")
async def database(postgres: Postgres, _template: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database that the tests of one module share."""
    async with _database(postgres, _template) as url:
        yield url


@pytest_asyncio.fixture
async def own_database(postgres: Postgres, _template: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database of one test."""
    async with _database(postgres, _template) as url:
        yield url


@pytest_asyncio.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[Pool]:
    """Connections to the module's database."""
    pool = await open_pool(database, size_max=12)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="module")
async def ledger(pool: Pool) -> AsyncIterator[Ledger]:
    """The ledger in the module's database."""
    ledger = Ledger(pool)
    yield ledger
    await ledger.close(timeout_s=5)


@pytest_asyncio.fixture(scope="session")
async def valkey_server(server_dir: Path) -> AsyncIterator[Valkey]:
    """A Valkey server of the session."""
    server = Valkey(server_dir / "valkey", free_port())
    process = Process(server.part(), server_dir / "logs")
    await process.start()
    yield server
    await process.stop()


@pytest_asyncio.fixture
async def valkey(valkey_server: Valkey) -> str:
    """The URL of an empty Valkey database for this test."""
    url = valkey_server.url(next(_numbers) % 16)
    async with redis.asyncio.from_url(url) as client:
        await client.flushdb()
    return url


@pytest_asyncio.fixture(scope="session")
async def temporal(server_dir: Path) -> AsyncIterator[Temporal]:
    """A Temporal server of the session, with Herald's search attributes. Real time."""
    server = Temporal(server_dir / "temporal", free_port(), free_port())
    process = Process(server.part(), server_dir / "logs")
    await process.start()
    yield server
    await process.stop()


@pytest_asyncio.fixture(scope="session")
async def temporal_client(temporal: Temporal) -> Client:
    """A client of the session's Temporal server."""
    return await Client.connect(temporal.address, data_converter=pydantic_data_converter)


@pytest_asyncio.fixture(scope="session")
async def temporal_time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server in which timers and retries of workflows started by `.client` take no time.

    Virtual: `workflow.now()` and the times of regular activities. Real: local activities, Postgres.
    """
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(binaries.temporal()),
        dev_server_extra_args=[
            "--dynamic-config-value=frontend.WorkflowTimeSkippingEnabled=true",
            *server_args(),
        ],
        port=free_port(),
        data_converter=pydantic_data_converter,
    )
    yield environment
    await environment.shutdown()


@pytest.fixture(scope="session")
def callback_port() -> int:
    """Where the session's simulators send the callbacks that belong to an account: a port to listen on."""
    return free_port()


@pytest_asyncio.fixture(scope="session")
async def simulators(server_dir: Path, callback_port: int) -> AsyncIterator[Simulators]:
    """The control API of every vendor's simulator; its `settings()` say where they are.

    One process for the session: use a different recipient in each test, and set faults by recipient.
    """
    ports = Ports.free()
    part = herald.simulators(ports, server_dir / "simulators", f"http://127.0.0.1:{callback_port}")
    process = Process(part, server_dir / "logs")
    await process.start()
    client = Simulators(f"http://127.0.0.1:{ports.simulators}")
    yield client
    await client.aclose()
    await process.stop()


async def _execute(postgres: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.url("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
