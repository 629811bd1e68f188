"""The worker process: settings, adapters, activities, the Temporal workers and the loops beside them."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import structlog
import uvloop
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.broadcast import Broadcasting
from activities.check_preferences import CheckPreferences
from activities.check_rate_limit import CheckRateLimit
from activities.deliver import Deliver
from activities.delivery_pass import DeliveryPass, Senders
from activities.drain_page import DrainPage
from activities.first_passes import FirstPasses
from activities.limits import Limits
from activities.links import Links
from activities.page_pass import PagePass
from activities.planner import Planner
from activities.poll_delivery_status import PollDeliveryStatus
from activities.provider_gate import ProviderGate
from activities.read_ahead import ReadAhead
from activities.reconcile import Reconcile
from activities.repeat import Repeats
from activities.resolve import Resolver
from dispatcher.broadcasts import BroadcastStarter
from dispatcher.dispatcher import Dispatcher
from dispatcher.give_up import GiveUp
from dispatcher.listener import Listener
from dispatcher.pager import Pager
from dispatcher.provider_watch import ProviderWatch
from dispatcher.relay import Relay
from dispatcher.startup import connect, establish_limits, keep_schedule
from dispatcher.waker import Waker
from domain.ids import namespace
from domain.notification import Channel, Lane
from domain.steps import channel_queue, page_queue, task_queue
from providers import registry
from providers.base import Provider
from ratelimit.limiter import Limiter
from settings import Settings, SettingsError
from storage.broadcast_pages import BroadcastPages
from storage.ledger import Ledger
from storage.page_queue import PageQueue
from storage.postgres import Pool, open_pool
from storage.receipts import Receipts
from telemetry import logs
from telemetry.metrics import Metrics
from workflows.broadcast import BroadcastWorkflow
from workflows.notification import NotificationWorkflow
from workflows.page import PageWorkflow
from workflows.reconciliation import ReconciliationWorkflow

log = structlog.stdlib.get_logger("herald.worker")

_Result = TypeVar("_Result")

RETRIES_MAX = 50
"""So many retried passes of one channel may run at once in one process."""
PAGES_MAX = 3
"""So many pages may run at once in one process: one for each lane but `critical`."""
PACE_S = 0.05
"""While much of it comes, what passes read and write is gathered for so long where no lane is critical: a
statement for each would be a fifth of what a notification costs.
"""
GRACE_S = 5.0
"""What stopping takes beyond the longest call: the outcome's write."""


@dataclass(slots=True)
class Parts:
    """What one worker process is made of."""

    settings: Settings
    lanes: Sequence[Lane]
    pool: Pool
    ledger: Ledger
    receipts: Receipts
    pages: PageQueue
    limiter: Limiter
    providers: Mapping[str, Provider]
    metrics: Metrics
    gate: ProviderGate = field(init=False)
    first_passes: FirstPasses = field(init=False)
    read_ahead: ReadAhead = field(default_factory=ReadAhead)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it takes nothing more."""

    def __post_init__(self) -> None:
        catalog, routes = self.settings.catalog, self.settings.routes
        self.gate = ProviderGate(
            self.providers,
            catalog,
            {channel: routes.of(channel) for channel in Channel},
            self.limiter,
            routes.sms_orders,
        )
        self.first_passes = FirstPasses(catalog.dispatch.in_flight_max)

    @property
    def grace_s(self) -> float:
        """How long stopping waits, in seconds: the longest HTTP budget and a flush."""
        catalog = self.settings.catalog
        return max((catalog.provider(name).timeout_s for name in self.providers), default=0) + GRACE_S


def activities_of(parts: Parts) -> dict[str, Callable[..., Awaitable[Any]]]:
    """Every activity by its name."""
    catalog, ledger = parts.settings.catalog, parts.ledger
    limits = Limits(parts.limiter, catalog)
    secret = parts.settings.secret_key.get_secret_value()
    links = Links(parts.settings.public_url, parts.settings.unsubscribe_secrets[0])
    repeats = Repeats(ledger, parts.gate, catalog, parts.metrics, links=links, secret=secret)
    resolver = Resolver(ledger, parts.receipts, parts.providers, parts.gate, catalog, parts.metrics, repeats)
    senders = Senders(parts.providers, parts.gate, catalog, links, secret)
    passes = DeliveryPass(ledger, senders, resolver, limits, parts.metrics)
    limit = CheckRateLimit(ledger, limits, parts.metrics, parts.read_ahead)
    planner = Planner(ledger, catalog, parts.gate)
    # Pages have places of their own: their calls are no reason to keep others' out of the workflow task.
    in_pages = DeliveryPass(ledger, replace(senders, crowds=False), resolver, limits, parts.metrics)
    page_passes = PagePass(planner, limit, in_pages, catalog)
    pages = DrainPage(parts.pages, page_passes, catalog.dispatch, parts.metrics, parts.stopping)
    reconcile = Reconcile(parts.pool, parts.metrics, catalog.retention)
    keys = parts.settings.fingerprint_secrets
    broadcasting = Broadcasting(
        BroadcastPages(parts.pool), ledger, catalog, namespace(secret), keys, parts.metrics
    )
    return {
        "check_preferences": CheckPreferences(
            planner, parts.first_passes, parts.read_ahead
        ).check_preferences,
        "check_rate_limit": limit.check_rate_limit,
        "deliver": Deliver(passes, parts.first_passes, parts.read_ahead).deliver,
        "poll_delivery_status": PollDeliveryStatus(
            ledger, parts.receipts, parts.providers, catalog
        ).poll_delivery_status,
        "drain_page": pages.drain_page,
        "requeue_lost": reconcile.requeue_lost,
        "report_drift": reconcile.report_drift,
        "watch_dead_letters": reconcile.watch_dead_letters,
        "keep_house": reconcile.keep_house,
        "gather_recipients": broadcasting.gather_recipients,
        "accept_recipients": broadcasting.accept_recipients,
        "stop_accepted": broadcasting.stop_accepted,
        "follow_broadcast": broadcasting.follow_broadcast,
        "decide_broadcast": broadcasting.decide_broadcast,
    }


def workers_of(parts: Parts, client: Client) -> list[Worker]:
    """The Temporal workers of a process: one for its lanes' workflows, one for each channel's retries."""
    activities = activities_of(parts)
    grace = timedelta(seconds=parts.grace_s)
    in_flight = parts.settings.catalog.dispatch.in_flight_max
    workers: list[Worker] = []
    for queue in sorted({task_queue(lane) for lane in parts.lanes}):
        critical = queue == task_queue(Lane.CRITICAL)
        workers.append(
            Worker(
                client,
                task_queue=queue,
                workflows=[NotificationWorkflow, PageWorkflow, BroadcastWorkflow, ReconciliationWorkflow],
                activities=list(activities.values()),
                # Import rules hold workflows deterministic (import-linter), tests run them sandboxed.
                workflow_runner=UnsandboxedWorkflowRunner(),
                max_concurrent_workflow_tasks=in_flight * 2,
                max_concurrent_local_activities=in_flight * 4,
                max_concurrent_activities=RETRIES_MAX,
                graceful_shutdown_timeout=grace,
            )
        )
        workers += [
            Worker(
                client,
                task_queue=channel_queue("critical" if critical else "normal", channel),
                activities=[activities["deliver"], activities["poll_delivery_status"]],
                max_concurrent_activities=RETRIES_MAX,
                graceful_shutdown_timeout=grace,
            )
            for channel in Channel
        ]
    if any(lane is not Lane.CRITICAL for lane in parts.lanes):
        workers.append(
            Worker(
                client,
                task_queue=page_queue(),
                activities=[activities["drain_page"]],
                max_concurrent_activities=PAGES_MAX,
                graceful_shutdown_timeout=grace,
            )
        )
    return workers


@contextlib.asynccontextmanager
async def opened(settings: Settings, lanes: Sequence[Lane]) -> AsyncGenerator[Parts]:
    """The parts of a worker process, closed in order at the end: nothing taken in is lost."""
    metrics = Metrics()

    def observe(group: str, rows: int, seconds: float) -> None:
        metrics.group_rows.record(rows, group=group)
        metrics.group_flush_seconds.record(seconds, group=group)

    pool = await open_pool(settings.database_url.get_secret_value(), size_max=settings.database_pool_max)
    limiter = Limiter.connect(settings.valkey_url.get_secret_value())
    registry.check_routes(settings.routes)
    providers = registry.build(settings.providers, settings.catalog, settings.public_url)
    ledger, receipts, pages = (
        Ledger(pool, pace_s=pace_s(lanes), observe=observe),
        Receipts(pool, receipt_deadline=settings.catalog.receipt_deadline_s, observe=observe),
        PageQueue(pool, observe=observe),
    )
    parts = Parts(settings, lanes, pool, ledger, receipts, pages, limiter, providers, metrics)
    try:
        yield parts
    finally:
        await ledger.close(parts.grace_s)
        await receipts.close(parts.grace_s)
        await pages.close(parts.grace_s)
        for provider in providers.values():
            await provider.aclose()
        await limiter.aclose()
        await pool.close()


def pace_s(lanes: Sequence[Lane]) -> float:
    """How long what passes write may gather in a process for these lanes."""
    return 0.0 if Lane.CRITICAL in lanes else PACE_S


async def ready(parts: Parts) -> Client:
    """Wait until everything that the worker needs answers; returns the client of Temporal."""
    temporal = parts.settings.temporal
    client = await connect(
        temporal.address,
        temporal.namespace,
        api_key=temporal.api_key.get_secret_value() if temporal.api_key else None,
        tls=temporal.tls,
    )
    if Lane.CRITICAL not in parts.lanes:
        await keep_schedule(client)
    await establish_limits(parts.ledger, parts.limiter)
    return client


async def run(settings: Settings, lanes: Sequence[Lane]) -> None:
    """Work until SIGTERM or SIGINT; calls under way end, and what they came to is recorded."""
    logs.configure(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with opened(settings, lanes) as parts:
        client = await _unless(stop, ready(parts))
        if client is None:
            return
        stop_serving = (
            parts.metrics.serve(settings.metrics_port, settings.metrics_host)
            if settings.metrics_port
            else None
        )
        await work(parts, client, stop)
        if stop_serving:
            stop_serving()
    log.info("worker_stopped")


async def work(parts: Parts, client: Client, stop: asyncio.Event) -> None:
    """Run the Temporal workers and the loops until told to stop, or until one of them breaks."""
    listener = Listener(
        parts.settings.database_url.get_secret_value(),
        ("herald_due", "herald_receipts", "herald_providers", "herald_wake", "herald_broadcasts"),
    )
    policy = parts.settings.catalog.dispatch
    pager = Pager(client, parts.pages, parts.lanes, policy, listener)
    places, ahead = parts.first_passes, parts.read_ahead
    dispatcher = Dispatcher(
        client, parts.ledger, parts.lanes, policy, places, ahead, listener, parts.metrics, pager
    )
    # Receipts come by thousands while a broadcast drains, and would hold up OTPs where there is nothing else.
    aside = set(parts.lanes) == {Lane.CRITICAL}
    relay = Relay(client, parts.receipts, parts.settings.catalog, listener, parts.metrics, stands_back=aside)
    waker = Waker(client, listener)
    watch = ProviderWatch(parts.pool, parts.gate, listener, parts.metrics)
    starter = BroadcastStarter(client, BroadcastPages(parts.pool), listener)
    broadcasts = [starter] if Lane.BULK in parts.lanes else []
    give_up = GiveUp()
    parts.stopping.clear()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(give_up.end)
        for worker in workers_of(parts, client):
            await stack.enter_async_context(worker)
        loops = [
            asyncio.create_task(part.run())
            for part in (listener, watch, waker, relay, dispatcher, pager, *broadcasts)
        ]
        log.info(
            "worker_ready", lanes=[lane.value for lane in parts.lanes], providers=sorted(parts.providers)
        )
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
        give_up.begin(2 * parts.grace_s)
        parts.stopping.set()
        for task in (*loops, stopping):
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        for task in done - {stopping}:
            task.result()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """Do the work; None if it was told to stop before it ended."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def main(settings: Settings, lanes: Sequence[Lane]) -> None:
    """Run a worker process to its end.

    It leaves by os._exit: Core's threads can crash the interpreter on its way out of a clean shutdown.
    """
    code = 0
    try:
        # What was imported stays: looking through it for garbage again and again would stop an OTP for 0.1 s.
        gc.freeze()
        # As the API does: a page spends a twentieth less on it than on Python's own loop.
        uvloop.run(run(settings, lanes))
    except SettingsError as error:
        sys.stderr.write(f"herald: {error}\n")
        code = 1
    except Exception:
        log.exception("worker_failed")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
