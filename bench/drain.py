"""Draining with one workflow each: the rate, how near it is to Temporal's own limit, and the costs."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from temporalio.client import Client

from bench import temporal_baseline
from bench.cost import COSTS, Histories, Meter
from bench.harness import Bench, Running, batching
from bench.report import Report, at_least
from bench.temporal_baseline import Baseline, BaselineResult
from bench.traffic import EMAIL, PUSH, WHATSAPP, Kind, Traffic, sms
from domain.ids import workflow_id
from temporal.search_attributes import TYPE

IN_FLIGHT = 50
"""As `dispatch.in_flight_max` of the catalog."""
ALERT, LIMITED, AWAITED, BULK = sms("alert"), sms("limited"), sms("awaited"), sms("marketing")
CHANNELS = {"sms": ALERT, "email": EMAIL, "push": PUSH, "whatsapp": WHATSAPP}
REPORTED = {"sms": ALERT, "email": EMAIL, "whatsapp": WHATSAPP}
"""The channels whose vendors report delivery; no vendor of push does."""
DRAIN_S_MAX = 180
SAMPLE = 20
TO_ACCEPTED, TO_DELIVERED = "submitted to provider-accepted", "submitted to delivered by callback"
WORKFLOW, AWAITING = "one workflow each", "one workflow each, awaiting its receipt"
BATCHES, BASELINE = "in batches", "Temporal baseline"

_DELIVERED = (
    "SELECT count(*) FROM notifications WHERE type = $1 AND accepted_at >= $2 AND status = 'delivered'"
)
_LAST = "SELECT max(final_at) FROM notifications WHERE type = $1 AND accepted_at >= $2"
_SOME = "SELECT id FROM notifications WHERE type = $1 ORDER BY accepted_at DESC LIMIT $2"


async def measure(bench: Bench) -> Report:
    """Per channel, against the Temporal baseline in turns; then the costs, with statements counted."""
    report = Report("drain", "Draining, one workflow each")
    size = bench.option("size", bench.scaled(400, 60, essential=600))
    report.scale = {"notifications": size, "in_flight": IN_FLIGHT}
    async with AsyncExitStack() as exits:
        running = await exits.enter_async_context(bench.stack(catalog=batching("never")))
        traffic = await exits.enter_async_context(Traffic(running))
        await traffic.add_users(size * (2 * bench.repetitions + 1))
        rates = _Rates(bench, running, traffic, size)
        await (rates.measure_sms(report) if bench.essential else rates.measure(report))
    async with AsyncExitStack() as exits:
        running = await exits.enter_async_context(bench.stack(catalog=batching("bulk"), statements=True))
        traffic = await exits.enter_async_context(Traffic(running))
        await _Costs(bench, running, traffic, report).measure()
    report.notes += [
        "The Temporal baseline: an eagerly started workflow with one local activity that does nothing, by a "
        "worker with the same settings and as many in flight, on the same server, in turns. Where receipts "
        f"are awaited: an activity, a signal {temporal_baseline.SIGNAL_AFTER_S * 1000:.0f} ms later, and "
        "an activity.",
        "Costs are those beyond an idle stack's, of each part's own process.",
    ]
    return report


class _Rates:
    def __init__(self, bench: Bench, running: Running, traffic: Traffic, size: int) -> None:
        self._bench = bench
        self._running = running
        self._traffic = traffic
        self._size = size
        self._rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    async def measure_sms(self, report: Report) -> None:
        """Measure only SMS to provider-accepted."""
        await self._running.instant_vendors(callbacks=False)
        await self._warm_up(ALERT)
        for _ in range(self._bench.repetitions):
            await self._sms_accepted()
        report.add("sms", self._rates[TO_ACCEPTED]["sms"], "/s", group=TO_ACCEPTED)

    async def measure(self, report: Report) -> None:
        """Measure each rate and its baseline in turns: rates fall a little as Temporal's store grows."""
        await self._running.instant_vendors()
        for kind in (AWAITED, *CHANNELS.values()):
            await self._warm_up(kind)
        for number in range(self._bench.repetitions):
            await self._running.instant_vendors(callbacks=False)
            await in_turns(number, self._baseline, self._sms_accepted)
            for channel, kind in CHANNELS.items():
                if kind is not ALERT:
                    await self._to_accepted(channel, kind)
            await self._running.instant_vendors()
            await in_turns(number, self._awaiting_baseline, self._awaiting)
            for channel, kind in REPORTED.items():
                self._add(TO_DELIVERED, channel, await self._until_delivered(kind))
        self._report(report, TO_ACCEPTED, "sms", BASELINE)
        self._report(report, TO_DELIVERED, "sms, awaiting its receipt", f"{BASELINE}, awaiting")

    async def _warm_up(self, kind: Kind) -> None:
        await self._traffic.drain(kind, max(10, self._size // 10), DRAIN_S_MAX)
        await self._traffic.quiet()

    def _add(self, group: str, name: str, per_s: float) -> None:
        self._rates[group][name].append(per_s)
        self._bench.say(f"  {group}, {name}: {per_s:.1f}/s")

    def _report(self, report: Report, group: str, compared: str, baseline: str) -> None:
        rates = self._rates[group]
        for name, samples in rates.items():
            report.add(name, samples, "/s", group=group)
        ratios = _ratios(rates[compared], rates[baseline])
        report.add(f"{compared}, against the baseline", ratios, "×", at_least(0.85), group=group)

    async def _sms_accepted(self) -> None:
        await self._to_accepted("sms", ALERT)

    async def _to_accepted(self, channel: str, kind: Kind) -> None:
        drained = await self._traffic.drain(kind, self._size, DRAIN_S_MAX)
        await self._traffic.quiet()
        self._add(TO_ACCEPTED, channel, drained.per_s)

    async def _awaiting(self) -> None:
        self._add(TO_DELIVERED, "sms, awaiting its receipt", await self._until_ended(AWAITED))

    async def _until_delivered(self, kind: Kind) -> float:
        """Notifications per second from the first submission to the last one's final status."""
        began = (await self._traffic.drain(kind, self._size, DRAIN_S_MAX)).began
        since = datetime.fromtimestamp(began, UTC)

        async def all_delivered() -> bool:
            return await self._running.value(_DELIVERED, kind.type, since) >= self._size

        await self._running.until("all are delivered", all_delivered, DRAIN_S_MAX, 0.25)
        last: datetime = await self._running.value(_LAST, kind.type, since)
        return self._size / (last.timestamp() - began)

    async def _until_ended(self, kind: Kind) -> float:
        """Notifications per second from the first submission to the end of the last one's workflow.

        The ledger has a receipt before the waiting workflow is signalled, so "delivered" would be too early:
        baseline workflows count to their end, too.
        """
        client = await Client.connect(self._running.temporal_address)
        ended = f"{TYPE.name} = '{kind.type}' AND ExecutionStatus = 'Completed'"
        before = (await client.count_workflows(ended)).count
        began = (await self._traffic.drain(kind, self._size, DRAIN_S_MAX)).began

        async def all_ended() -> bool:
            return (await client.count_workflows(ended)).count >= before + self._size

        await self._running.until("all workflows have ended", all_ended, DRAIN_S_MAX, 0.25)
        ends = [run.close_time async for run in client.list_workflows(ended) if run.close_time]
        return self._size / (max(ends).timestamp() - began)

    async def _baseline(self) -> None:
        result = await self._run_baseline(awaiting=False)
        self._add(TO_ACCEPTED, BASELINE, result.per_s)

    async def _awaiting_baseline(self) -> None:
        result = await self._run_baseline(awaiting=True)
        self._add(TO_DELIVERED, f"{BASELINE}, awaiting", result.ended_per_s)

    async def _run_baseline(self, *, awaiting: bool) -> BaselineResult:
        address = self._running.temporal_address
        return await temporal_baseline.run(Baseline(address, self._size, IN_FLIGHT, awaiting))


async def in_turns(number: int, *measures: Callable[[], Awaitable[None]]) -> None:
    """Run each measure once, in reverse order every other time."""
    for measure in measures if number % 2 == 0 else reversed(measures):
        await measure()


class _Costs:
    """One interval for each way of delivery, on a stack that counts statements."""

    def __init__(self, bench: Bench, running: Running, traffic: Traffic, report: Report) -> None:
        self._bench = bench
        self._running = running
        self._traffic = traffic
        self._report = report
        self._each = bench.scaled(400, 40)
        self._warm_up = max(10, self._each // 10)

    async def measure(self) -> None:
        batched = self._bench.scaled(5000, 200)
        await self._traffic.add_users(batched + 2 * self._each)
        await self._running.instant_vendors()
        ways = [(WORKFLOW, LIMITED, self._each), (AWAITING, AWAITED, self._each), (BATCHES, BULK, batched)]
        for _, kind, _ in ways:
            await self._traffic.drain(kind, self._warm_up, DRAIN_S_MAX)
        await self._traffic.quiet()
        client = await Client.connect(self._running.temporal_address)
        meter = Meter(self._running)
        await meter.idle()
        for way, kind, count in ways:
            await meter.begin()
            drained = await self._traffic.drain(kind, count, DRAIN_S_MAX)
            await self._receipts_processed(count, kind)
            group = f"{COSTS}{way}"
            await meter.end(self._report, group, count)
            self._bench.say(f"  {way}: {drained.per_s:,.0f}/s")
            if way == BATCHES:
                await self._batch_histories(client, group, count + self._warm_up)
            else:
                ids = [workflow_id(row[0]) for row in await self._running.query(_SOME, kind.type, SAMPLE)]
                await asyncio.sleep(0.5)
                (await Histories.of(client, ids)).add_to(self._report, group)
        if not self._bench.essential:
            await self._baselines(meter, client)

    async def _batch_histories(self, client: Client, group: str, notifications: int) -> None:
        ids = [run.id async for run in client.list_workflows("WorkflowType = 'BatchWorkflow'")]
        found = [await Histories.of(client, [id]) for id in ids]
        total = Histories(*(sum(getattr(one, name) for one in found) for name in Histories.__slots__))
        total.add_to(self._report, group, notifications)

    async def _baselines(self, meter: Meter, client: Client) -> None:
        for awaiting in (False, True):
            await meter.begin()
            asked = Baseline(self._running.temporal_address, self._each, IN_FLIGHT, awaiting)
            result = await temporal_baseline.run(asked)
            group = f"{COSTS}{BASELINE}{', awaiting' if awaiting else ''}"
            server_ms = meter.server_ms(self._each + temporal_baseline.warm_up_count(self._each))
            self._report.add("CPU of temporal", server_ms, "ms", group=group)
            self._report.add("CPU of worker", result.cpu_ms, "ms", group=group)
            self._report.add("CPU, together", server_ms + result.cpu_ms, "ms", group=group)
            (await Histories.of(client, result.workflow_ids)).add_to(self._report, group)

    async def _receipts_processed(self, count: int, kind: Kind) -> None:
        """Wait until the newest `count` are delivered, so that no receipt is outstanding."""

        async def delivered() -> bool:
            rows = await self._running.query(
                "SELECT count(*) FILTER (WHERE status = 'delivered') FROM "
                "(SELECT status FROM notifications WHERE type = $1 ORDER BY accepted_at DESC LIMIT $2) AS n",
                *(kind.type, count),
            )
            return rows[0][0] >= count

        await self._running.until("every receipt is processed", delivered, DRAIN_S_MAX, 0.25)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]
