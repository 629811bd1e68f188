"""Growth: the cost of a notification in a large ledger, and with many open workflows."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import uuid4

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from bench import statements
from bench.harness import Bench, Running
from bench.history_seed import MONTHS, SHARED_BUFFERS, seed_history
from bench.load import percentile
from bench.report import Report, Series, at_most
from domain.contracts import NotificationRef
from domain.ids import workflow_id
from domain.notification import Channel, Lane
from domain.notification_types import RetentionPolicy
from storage import maintenance
from storage.postgres import Pool, open_pool
from storage.queries import Filter, Queries
from storage.retention import retain
from temporal.search_attributes import CHANNEL, TENANT, TYPE
from temporal.task_queues import task_queue
from workflows.notification import NotificationWorkflow

FLAT = at_most(1.2)
"""Within 20 % of the smallest size."""
RATE_PER_S = 25
"""Well below the capacity of one workflow each, so that no queue builds up."""
GROUP = 100
SMALLEST = 10_000
"""Rows of the ledger that the larger ones are compared with."""
STARTS_AT_ONCE = 64

FIVE_STATEMENTS = {1: "the five statements, one by one", GROUP: f"the five statements, {GROUP} in a group"}

Values = dict[tuple[str, str], float]
"""The measurements of one repetition: a value by name and unit."""
Samples = Mapping[int, Sequence[Values]]


async def measure(bench: Bench) -> Report:
    """Three sizes side by side, measured in turns; each figure against the smallest size.

    Essential: the statements alone, at the smallest size and at `rows`.
    """
    report = Report("growth", "Growth of the ledger, and of what is open in Temporal")
    notifications = bench.option("notifications", bench.scaled(200, 50))
    report.scale = {"notifications": notifications, "rate_per_s": RATE_PER_S, "months": MONTHS}
    if rows := bench.option("rows", bench.scaled(10_000_000, 50_000, essential=3_000_000)):
        sizes = (SMALLEST, rows) if bench.essential else (SMALLEST, rows // 10, rows)
        await _ledgers(bench, report, sizes, notifications)
    if bench.essential:
        return report
    if opened := bench.option("open", bench.scaled(100_000, 1000)):
        await _open_workflows(bench, report, (opened // 100, opened // 10, opened), notifications)
    return report


async def _ledgers(bench: Bench, report: Report, sizes: Sequence[int], notifications: int) -> None:
    async def prepare(running: Running, size: int) -> None:
        await running.stack.stop("worker", "worker_critical")
        seeded = await seed_history(running, size)
        report.notes.append(
            f"{size:,} notifications with deliveries, attempts, contents, two receipts each and timelines "
            f"over {MONTHS} months were generated in {seeded.seconds:.0f} s: {seeded.megabytes:,.0f} MiB."
        )
        bench.say(f"  {report.notes[-1]}")
        if size == sizes[-1]:
            group = f"{size:,} rows in the ledger"
            report.add(
                "keys of one", seeded.key_bytes, "bytes", group=group, note="notification and delivery"
            )
            report.add("evidence of one", seeded.evidence_bytes, "bytes", group=group, note="all else")

    async def measured(running: Running) -> Values:
        values = await _statements(running)
        if bench.essential:
            return values
        await running.stack.resume("worker")
        values |= await _delivered(running, notifications)
        await running.stack.stop("worker")
        return values | await _reads(running)

    report.notes.append(
        f"Postgres has {SHARED_BUFFERS} of shared buffers, with the indexes loaded at the beginning."
    )
    samples = await _side_by_side(bench, sizes, prepare, measured)
    _add(report, samples, "rows in the ledger")


async def _open_workflows(bench: Bench, report: Report, sizes: Sequence[int], notifications: int) -> None:
    async def prepare(running: Running, size: int) -> None:
        started = time.monotonic()
        await _open(running.temporal_address, size)
        report.notes.append(f"{size:,} workflows were opened in {time.monotonic() - started:.0f} s.")
        bench.say(f"  {report.notes[-1]}")

    async def measured(running: Running) -> Values:
        return await _delivered(running, notifications)

    samples = await _side_by_side(bench, sizes, prepare, measured)
    _add(report, samples, "open workflows")
    report.notes.append(
        "The open workflows are notification workflows with search attributes whose first task is a day away "
        "(start_delay): each has a timer, like a parked one, and no history after the start."
    )


async def _side_by_side(
    bench: Bench,
    sizes: Sequence[int],
    prepare: Callable[[Running, int], Awaitable[None]],
    measured: Callable[[Running], Awaitable[Values]],
) -> Samples:
    """One stack for each size: all prepared first, then measured in turns, so that drift affects all."""
    samples: dict[int, list[Values]] = defaultdict(list)
    async with AsyncExitStack() as exits:
        stacks = {size: await exits.enter_async_context(bench.stack(statements=True)) for size in sizes}
        for size, running in stacks.items():
            await running.instant_vendors()
            await prepare(running, size)
        for repetition in range(bench.repetitions + 1):
            for size, running in stacks.items():
                values = await measured(running)
                # The first round opens connections and plans statements: it does not count.
                if repetition:
                    samples[size].append(values)
                bench.say(
                    f"  {size:,}: "
                    + ", ".join(f"{name} {value:.3g} {unit}" for (name, unit), value in values.items())
                )
    return samples


async def _delivered(running: Running, notifications: int) -> Values:
    """The cost of each notification, submitted at a constant rate and delivered with one workflow each."""
    before = await running.counts()
    latencies = await _submitted(running, notifications)

    async def nothing_due() -> bool:
        return not await running.value("SELECT EXISTS (SELECT FROM due)")

    await running.until("everything is delivered", nothing_due, 120)
    spent = (await running.counts()).since(before)
    values = {(f"CPU of {part}", "ms"): spent.cpu_s[part] * 1000 / notifications for part in _PARTS}
    return {
        ("CPU of all", "ms"): sum(values.values()),
        **values,
        ("WAL", "kB"): spent.postgres["wal_bytes"] / 1000 / notifications,
        ("accepted, p50", "ms"): percentile(latencies, 50),
    }


_PARTS = ("api", "callbacks", "worker", "temporal", "postgres")


async def _submitted(running: Running, notifications: int) -> list[float]:
    """Submit on schedule; the milliseconds from each scheduled time to its answer, sorted."""
    started, latencies = time.perf_counter(), list[float]()

    async def one(place: int) -> None:
        due = started + place / RATE_PER_S
        await asyncio.sleep(due - time.perf_counter())
        body = {
            "user_id": f"user-{place}",
            "type": "alert",
            "channels": ["sms"],
            "content": {"body": "You paid 5,000.00 to Ada's Kitchen. Balance: 12,345.67."},
            "to": {"sms": "+2348031236789"},
            "idempotency_key": str(uuid4()),
        }
        (await running.api.post("/v1/notifications", json=body)).raise_for_status()
        latencies.append((time.perf_counter() - due) * 1000)

    await asyncio.gather(*map(one, range(notifications)))
    return sorted(latencies)


async def _statements(running: Running) -> Values:
    """The hot statements, one at a time and in groups. No worker runs at the same time."""
    values: Values = {}
    for group, rounds in ((1, 100), (GROUP, 10)):
        costs = await statements.measure(running.database_url, group, rounds)
        if group > 1:
            values |= {(f"{name}, {group} in a group", "ms"): cost.ms for name, cost in costs.items()}
        whole = FIVE_STATEMENTS[group]
        values[whole, "ms"] = sum(cost.ms for cost in costs.values())
        values[whole, "kB of WAL"] = sum(cost.wal_bytes for cost in costs.values()) / 1000
        values[whole, "blocks"] = sum(cost.blocks for cost in costs.values())
        values[whole, "blocks not in shared buffers"] = sum(cost.missed for cost in costs.values())
    return values


async def _reads(running: Running) -> Values:
    """API reads and one round of the reconciliation: the median of several, in milliseconds."""
    pool = await open_pool(running.database_url, size_max=1)
    queries = Queries(pool)
    oldest = await running.value("SELECT id FROM notifications ORDER BY tenant, accepted_at, id LIMIT 1")
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "the newest 50": lambda: queries.list_page("dev", Filter(), 50),
        "a user's 50": lambda: queries.list_page("dev", Filter(user_id="user-7"), 50),
        "50 of a type that nobody sent": lambda: queries.list_page("dev", Filter(type="otp"), 50),
        "the oldest, with its timeline": lambda: queries.timeline("dev", oldest),
        "one reconciliation round": lambda: _reconciled(pool),
    }
    try:
        return {(name, "ms"): await _median_ms(ask) for name, ask in asked.items()}
    finally:
        await queries.close(1)
        await pool.close()


async def _reconciled(pool: Pool) -> None:
    await maintenance.requeue_live_without_due(pool, 1000)
    await maintenance.revive_orphans(pool, 1000)
    await maintenance.drift(pool)
    await maintenance.age_dead_letters(pool)
    await maintenance.ensure_partitions(pool, 3)
    await maintenance.drop_orphans(pool, 72 * 3600)
    await retain(pool, RetentionPolicy(), within_s=1)


async def _median_ms(ask: Callable[[], Awaitable[object]], times: int = 7) -> float:
    values: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        await ask()
        values.append((time.perf_counter() - started) * 1000)
    return percentile(sorted(values), 50)


async def _open(address: str, count: int) -> None:
    """Open `count` notification workflows whose first task is a day away."""
    client = await Client.connect(address)
    slots = asyncio.Semaphore(STARTS_AT_ONCE)
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(TENANT, "dev"),
            SearchAttributePair(TYPE, "alert"),
            SearchAttributePair(CHANNEL, [Channel.SMS.value]),
        ]
    )

    async def start() -> None:
        id = uuid4()
        async with slots:
            await client.start_workflow(
                NotificationWorkflow.run,
                NotificationRef(str(id)),
                id=workflow_id(id),
                task_queue=task_queue(Lane.NORMAL),
                start_delay=timedelta(days=1),
                static_summary="alert → sms (+234•••••6789)",
                search_attributes=attributes,
            )

    for first in range(0, count, 1000):
        await asyncio.gather(*(start() for _ in range(min(1000, count - first))))


def _add(report: Report, samples: Samples, what: str) -> None:
    """Add each value at the smallest size, and the others as ratios to it, repetition by repetition."""
    smallest, *larger = sorted(samples)
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, unit in samples[smallest][0]:
        bases = [values[name, unit] for values in samples[smallest]]
        report.add(name, bases, unit, group=f"{smallest:,} {what}")
        for size in larger:
            group = f"{size:,} {what} against {smallest:,}"
            if unit in _IN_RATIO and all(bases):
                ratios = [
                    values[name, unit] / base for values, base in zip(samples[size], bases, strict=True)
                ]
                figure = report.add(
                    f"{name}, {unit}", ratios, "×", FLAT if unit == "ms" else None, group=group
                )
                lines.setdefault(f"{name}, {unit}", [(smallest, 1.0)]).append((size, figure.value))
            else:
                report.add(name, [values[name, unit] for values in samples[size]], unit, group=group)
    report.series.append(Series(f"cost with {what}", what, f"against {smallest:,}", lines))


_IN_RATIO = frozenset({"ms", "kB", "kB of WAL", "blocks"})
