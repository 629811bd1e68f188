"""Draining with a workflow each: how many a second, how near to the bare limit, and what one costs."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from temporalio.client import Client

from bench import bare
from bench.bare import Asked, Bare
from bench.cost import Histories, Meter
from bench.flow import EMAIL, PUSH, WHATSAPP, Drained, Flow, Kind, sms
from bench.harness import Bench, Running, paging
from bench.peers.subjects import pages_exist
from bench.report import Report, at_least
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

_DELIVERED = (
    "SELECT count(*) FROM notifications WHERE type = $1 AND accepted_at >= $2 AND status = 'delivered'"
)
_LAST = "SELECT max(final_at) FROM notifications WHERE type = $1 AND accepted_at >= $2"
_SOME = "SELECT id FROM notifications WHERE type = $1 ORDER BY accepted_at DESC LIMIT $2"
EACH, WAITING, PAGED = "a workflow each", "a workflow each, awaiting its receipt", "by pages"


async def measure(bench: Bench) -> Report:
    """Per channel, against bare workflows in turns; then, with statements counted, the list of costs."""
    report = Report("drain", "Draining, a workflow each")
    size = bench.option("size", bench.scaled(400, 60))
    report.scale = {"notifications": size, "in_flight": IN_FLIGHT}
    async with AsyncExitStack() as open:
        running = await open.enter_async_context(bench.stack(catalog=paging("never")))
        flow = await open.enter_async_context(Flow(running))
        await flow.people(size * (2 * bench.repetitions + 1))
        await _Rates(bench, running, flow, size).measure(report)
    async with AsyncExitStack() as open:
        catalog = paging("bulk") if pages_exist() else paging("never")
        running = await open.enter_async_context(bench.stack(catalog=catalog, statements=True))
        flow = await open.enter_async_context(Flow(running))
        await _costs(bench, running, flow, report)
    report.notes += [
        "The bare limit: an eagerly started workflow with one local activity that does nothing, by a worker "
        "with the same settings and as many in flight, on the same server, in turns; for the awaiting, a "
        f"local activity, a signal {bare.SIGNAL_AFTER_S * 1000:.0f} ms later, and a local activity.",
        "Costs are those beyond an idle stack's, of each part's own process.",
    ]
    return report


class _Rates:
    def __init__(self, bench: Bench, running: Running, flow: Flow, size: int) -> None:
        self._bench = bench
        self._running = running
        self._flow = flow
        self._size = size
        self._accepted: dict[str, list[float]] = defaultdict(list)
        self._delivered: dict[str, list[float]] = defaultdict(list)
        self._limits: dict[str, list[Bare]] = defaultdict(list)

    async def measure(self, report: Report) -> None:
        """What is compared with a limit is measured beside it, once after and once before it: rates fall a
        little from measure to measure, as Temporal's store grows."""
        await self._running.instant_vendors()
        for kind in (AWAITED, *CHANNELS.values()):
            await self._drained(kind, max(10, self._size // 10))
        for number in range(self._bench.repetitions):
            await self._running.instant_vendors(callbacks=False)
            await in_turns(number, self._bare, self._sms_accepted)
            for channel, kind in CHANNELS.items():
                if kind is not ALERT:
                    await self._to_accepted(channel, kind)
            await self._running.instant_vendors()
            await in_turns(number, self._bare_awaiting, self._awaiting_ended)
            for channel, kind in REPORTED.items():
                self._delivered[channel].append(await self._until_delivered(kind))
                self._bench.say(f"  {channel}, to delivered: {self._delivered[channel][-1]:.1f}/s")
        self._tell(report)

    async def _sms_accepted(self) -> None:
        await self._to_accepted("sms", ALERT)

    async def _to_accepted(self, channel: str, kind: Kind) -> None:
        self._accepted[channel].append((await self._drained(kind, self._size)).per_s)
        self._bench.say(f"  {channel}, to provider-accepted: {self._accepted[channel][-1]:.1f}/s")

    async def _awaiting_ended(self) -> None:
        self._delivered["awaiting"].append(await self._until_ended(AWAITED))
        self._bench.say(f"  awaiting, to delivered: {self._delivered['awaiting'][-1]:.1f}/s")

    def _tell(self, report: Report) -> None:
        accepted, delivered = self._accepted, self._delivered
        bare_per_s = [one.per_s for one in self._limits["bare"]]
        awaiting_per_s = [one.ended_per_s for one in self._limits["awaiting"]]
        group = "accepted to provider-accepted"
        for channel, samples in accepted.items():
            report.add(channel, samples, "/s", group=group)
        report.add("the bare limit", bare_per_s, "/s", group=group)
        report.add(
            "sms against the bare limit",
            _ratios(accepted["sms"], bare_per_s),
            "×",
            at_least(0.85),
            group=group,
        )
        group = "accepted to delivered by callback"
        for channel in REPORTED:
            report.add(channel, delivered[channel], "/s", group=group)
        report.add("sms that awaits its receipt", delivered["awaiting"], "/s", group=group)
        report.add("the bare limit, awaiting", awaiting_per_s, "/s", group=group)
        report.add(
            "awaiting against the bare limit",
            _ratios(delivered["awaiting"], awaiting_per_s),
            "×",
            at_least(0.85),
            group=group,
        )

    async def _drained(self, kind: Kind, size: int) -> Drained:
        drained = await self._flow.drain(kind, size, DRAIN_S_MAX)
        await self._flow.quiet()
        return drained

    async def _until_delivered(self, kind: Kind) -> float:
        """Notifications per second from the first hand-over to the last one's final status."""
        began = (await self._flow.drain(kind, self._size, DRAIN_S_MAX)).began
        since = datetime.fromtimestamp(began, UTC)

        async def all_delivered() -> bool:
            return await self._running.value(_DELIVERED, kind.type, since) >= self._size

        await self._running.until("all are delivered", all_delivered, DRAIN_S_MAX, 0.25)
        last: datetime = await self._running.value(_LAST, kind.type, since)
        return self._size / (last.timestamp() - began)

    async def _until_ended(self, kind: Kind) -> float:
        """Notifications per second from the first hand-over to the end of the last one's workflow.

        The ledger has a receipt before the workflow that waits for it is told: up to half of them were still
        to end when all were delivered, and the bare ones are counted to their end.
        """
        client = await Client.connect(self._running.temporal_address)
        ended = f"{TYPE.name} = '{kind.type}' AND ExecutionStatus = 'Completed'"
        before = (await client.count_workflows(ended)).count
        began = (await self._flow.drain(kind, self._size, DRAIN_S_MAX)).began

        async def all_ended() -> bool:
            return (await client.count_workflows(ended)).count >= before + self._size

        await self._running.until("all workflows have ended", all_ended, DRAIN_S_MAX, 0.25)
        ends = [run.close_time async for run in client.list_workflows(ended) if run.close_time]
        return self._size / (max(ends).timestamp() - began)

    async def _bare(self) -> None:
        done = await bare.run(Asked(self._running.temporal_address, self._size, IN_FLIGHT))
        self._limits["bare"].append(done)
        self._bench.say(f"  bare: {done.per_s:.1f}/s")

    async def _bare_awaiting(self) -> None:
        done = await bare.run(Asked(self._running.temporal_address, self._size, IN_FLIGHT, awaiting=True))
        self._limits["awaiting"].append(done)
        self._bench.say(f"  bare, awaiting: {done.ended_per_s:.1f}/s")


async def in_turns(number: int, *measures: Callable[[], Awaitable[None]]) -> None:
    """Each measure once, every other time in the other order."""
    for measure in measures if number % 2 == 0 else reversed(measures):
        await measure()


async def _costs(bench: Bench, running: Running, flow: Flow, report: Report) -> None:
    """One stretch for each way, on a stack that counts statements."""
    client = await Client.connect(running.temporal_address)
    each, paged = bench.scaled(400, 40), bench.scaled(5000, 200)
    await flow.people(paged + 2 * each)
    await running.instant_vendors()
    ways = [(EACH, LIMITED, each), (WAITING, AWAITED, each)]
    if pages_exist():
        ways.append((PAGED, BULK, paged))
    for _, kind, _ in ways:
        await flow.drain(kind, max(10, each // 10), DRAIN_S_MAX)
    await flow.quiet()
    meter = Meter(running)
    await meter.idle()
    for group, kind, count in ways:
        await meter.begin()
        await flow.drain(kind, count, DRAIN_S_MAX)
        await _receipts_taken(running, count, kind)
        await meter.end(report, f"what one costs, {group}", count)
        if group == PAGED:
            pages = await _page_ids(client)
            found = [await Histories.of(client, [id]) for id in pages]
            total = Histories(*(sum(getattr(one, name) for one in found) for name in Histories.__slots__))
            total.tell(report, f"what one costs, {group}", count + max(10, each // 10))
        else:
            ids = [workflow_id(row[0]) for row in await running.query(_SOME, kind.type, SAMPLE)]
            await asyncio.sleep(0.5)
            (await Histories.of(client, ids)).tell(report, f"what one costs, {group}")
    await _bare_costs(bench, meter, client, report)


async def _bare_costs(bench: Bench, meter: Meter, client: Client, report: Report) -> None:
    for awaiting in (False, True):
        count = bench.scaled(400, 40)
        await meter.begin()
        done = await bare.run(Asked(meter.running.temporal_address, count, IN_FLIGHT, awaiting))
        group = f"what one costs, bare{', awaiting' if awaiting else ''}"
        server_ms = meter.server_ms(count + bare.warm(count))
        report.add("CPU of temporal", server_ms, "ms", group=group)
        report.add("CPU of worker", done.cpu_ms, "ms", group=group)
        report.add("CPU, together", server_ms + done.cpu_ms, "ms", group=group)
        (await Histories.of(client, done.workflow_ids)).tell(report, group)


async def _receipts_taken(running: Running, count: int, kind: Kind) -> None:
    """Until no receipt is to come: the newest `count` are delivered."""

    async def delivered() -> bool:
        rows = await running.query(
            "SELECT count(*) FILTER (WHERE status = 'delivered') FROM "
            "(SELECT status FROM notifications WHERE type = $1 ORDER BY accepted_at DESC LIMIT $2) newest",
            *(kind.type, count),
        )
        return rows[0][0] >= count

    await running.until("every receipt is taken", delivered, DRAIN_S_MAX, 0.25)


async def _page_ids(client: Client) -> list[str]:
    return [run.id async for run in client.list_workflows("WorkflowType = 'PageWorkflow'")]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]
