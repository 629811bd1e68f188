"""The parts of one worker process, opened from settings and closed in order."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from delivery.prefetch import PrefetchCache
from delivery.provider_health import ProviderHealth
from delivery.slots import InFlightSlots
from domain.fairness import Turns
from domain.notification import Channel, Lane
from providers import registry, simulated
from providers.base import Provider
from ratelimit.limiter import Limiter
from settings import Settings
from storage.batch_queue import BatchQueue
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool
from storage.receipts import Receipts
from telemetry.metrics import Metrics

LINGER_S = 0.05
"""How long group commits linger in processes without the critical lane, in seconds. Single-row statements
would be a fifth of a notification's cost.
"""
GRACE_S = 5.0
"""How long stopping may take beyond the longest call, in seconds: to record its outcome."""


@dataclass(slots=True)
class Parts:
    """The stores, providers and shared state of a worker process."""

    settings: Settings
    lanes: Sequence[Lane]
    pool: Pool
    ledger: Ledger
    receipts: Receipts
    batch_queue: BatchQueue
    limiter: Limiter
    providers: Mapping[str, Provider]
    metrics: Metrics
    turns: Turns
    health: ProviderHealth = field(init=False)
    slots: InFlightSlots = field(init=False)
    prefetched: PrefetchCache = field(default_factory=PrefetchCache)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the process stops."""

    def __post_init__(self) -> None:
        catalog, routes = self.settings.catalog, self.settings.routes
        self.health = ProviderHealth(
            self.providers,
            catalog,
            {channel: routes.of(channel) for channel in Channel},
            self.limiter,
            routes.sms_orders,
        )
        self.slots = InFlightSlots(catalog.dispatch.in_flight_max)

    @property
    def grace_s(self) -> float:
        """How long stopping waits, in seconds: the longest call budget and a flush."""
        catalog = self.settings.catalog
        return max((catalog.provider(name).timeout_s for name in self.providers), default=0) + GRACE_S


@contextlib.asynccontextmanager
async def opened(settings: Settings, lanes: Sequence[Lane]) -> AsyncGenerator[Parts]:
    """Open the parts of a worker process; close them in order at the end, after their queues are flushed."""
    registry.check_sms(settings.providers, settings.catalog)
    metrics = Metrics()
    pool = await open_pool(settings.database_dsn, size_max=settings.database_pool_max)
    limiter = Limiter.connect(settings.valkey_dsn)
    registry.check_routes(settings.routes)
    vendors = registry.build(settings.providers, settings.catalog, settings.public_url)
    policy = settings.catalog.dispatch
    turns = Turns(policy.in_flight_max, policy.batch_concurrency, policy.contended_slowdown)
    ledger, receipts, batch_queue = (
        Ledger(
            pool,
            linger_s=linger_s(lanes),
            urgent=lambda: turns.is_any_contended(time.monotonic()),
            observe=metrics.observe_group,
        ),
        Receipts(pool, receipt_deadline=settings.catalog.receipt_deadline_s, observe=metrics.observe_group),
        BatchQueue(pool, observe=metrics.observe_group),
    )
    test_providers = simulated.build(receipts.store)
    providers = {**vendors, **test_providers}
    parts = Parts(settings, lanes, pool, ledger, receipts, batch_queue, limiter, providers, metrics, turns)
    try:
        yield parts
    finally:
        for provider in test_providers.values():
            # Before the inbox closes: they still report to it.
            await provider.aclose()
        await ledger.close(parts.grace_s)
        await receipts.close(parts.grace_s)
        await batch_queue.close(parts.grace_s)
        for provider in vendors.values():
            await provider.aclose()
        await limiter.aclose()
        await pool.close()


def linger_s(lanes: Sequence[Lane]) -> float:
    """How long a process of these lanes gathers reads and writes for one group commit, in seconds."""
    return 0.0 if Lane.CRITICAL in lanes else LINGER_S
