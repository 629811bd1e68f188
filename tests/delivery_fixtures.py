"""Stores and vendors for the delivery engine: real Postgres and Valkey, the simulators over HTTP."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
import structlog
from delivery_case import StubbedProvider, Submitter, Worker, catalog, settings_from
from watched_ledger import WatchedLedger

from domain.notification_types import Catalog
from providers import registry
from providers.base import Provider
from ratelimit.limiter import Limiter
from simulators.control import Simulators
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.receipts import Receipts


@pytest_asyncio.fixture(scope="module")
async def receipts(pool: Pool) -> AsyncIterator[Receipts]:
    receipts = Receipts(pool, receipt_deadline=lambda type: catalog().receipt_deadline_s(type))
    yield receipts
    await receipts.close(5)


@pytest_asyncio.fixture
async def limiter(valkey: str) -> AsyncIterator[Limiter]:
    limiter = Limiter.connect(valkey, timeout_s=5)
    await limiter.establish()
    yield limiter
    await limiter.aclose()


@pytest_asyncio.fixture(scope="module")
async def vendors(simulators: Simulators) -> AsyncIterator[dict[str, Provider]]:
    """Every adapter, wired to the simulators."""
    settings = settings_from(await simulators.settings())
    providers = registry.build(settings, catalog(), "http://127.0.0.1:9")
    yield providers
    for provider in providers.values():
        await provider.aclose()


@pytest.fixture
def submitter(ledger: Ledger, simulators: Simulators) -> Submitter:
    return Submitter(ledger, simulators)


@pytest.fixture
def stubbed(vendors: dict[str, Provider]) -> dict[str, StubbedProvider]:
    """The adapters, whose answers a test may replace."""
    return {name: StubbedProvider(provider) for name, provider in vendors.items()}


@pytest_asyncio.fixture
async def make_worker(
    pool: Pool, receipts: Receipts, limiter: Limiter, stubbed: dict[str, StubbedProvider]
) -> AsyncIterator[Callable[..., Worker]]:
    """Makes workers, each with its own ledger and its own view of the providers' health."""
    workers: list[Worker] = []

    def make(which: Catalog | None = None, **more: Any) -> Worker:
        worker = Worker(WatchedLedger(pool), receipts, limiter, stubbed, which or catalog(), **more)  # pyright: ignore[reportArgumentType] (stubbed as providers)
        workers.append(worker)
        return worker

    yield make
    for worker in workers:
        await worker.ledger.close(5)


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


@pytest.fixture
def watched(worker: Worker) -> WatchedLedger:
    """The ledger of `worker`."""
    assert isinstance(worker.ledger, WatchedLedger)
    return worker.ledger


@pytest.fixture
def alerts() -> Iterator[Callable[[], list[str]]]:
    """The alerts raised so far, by name."""
    with structlog.testing.capture_logs() as logs:

        def raised() -> list[str]:
            entries: list[Any] = [entry for entry in logs if entry.get("alert")]
            return [str(entry["event"]) for entry in entries]

        yield raised
