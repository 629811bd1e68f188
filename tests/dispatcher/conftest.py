"""Workers over real stores: Postgres, Valkey, Temporal, and the simulators' process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from worker_harness import ORDINARY, WorkerHarness, at_work, settings_for

from devstack.temporal import Temporal
from devstack.valkey import Valkey
from domain.notification import Lane
from settings import Settings
from simulators.control import Simulators
from storage.ledger import Ledger
from storage.postgres import open_pool
from wiring.parts import Parts, opened


@pytest_asyncio.fixture(scope="module")
async def settings(
    tmp_path_factory: pytest.TempPathFactory,
    database: str,
    valkey_server: Valkey,
    temporal: Temporal,
    simulators: Simulators,
) -> Settings:
    directory: Path = tmp_path_factory.mktemp("worker")
    vendors = await simulators.settings()
    return settings_for(directory, database, valkey_server.url(15), temporal.address, vendors)


@pytest_asyncio.fixture(scope="module")
async def harness(database: str) -> AsyncIterator[WorkerHarness]:
    """Submits to the ledger, like the API."""
    pool = await open_pool(database, size_max=4)
    ledger = Ledger(pool)
    yield WorkerHarness(ledger)
    await ledger.close(5)
    await pool.close()


@pytest_asyncio.fixture(scope="module")
async def client(temporal: Temporal) -> Client:
    """A client like the worker's."""
    return await Client.connect(temporal.address)


@pytest_asyncio.fixture(scope="module")
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """The parts of one worker process for all lanes."""
    async with opened(settings, (Lane.CRITICAL, *ORDINARY)) as parts:
        await parts.limiter.establish()
        yield parts


@pytest_asyncio.fixture
async def working(parts: Parts, client: Client) -> AsyncIterator[Parts]:
    """A running worker."""
    async with at_work(parts, client):
        yield parts
