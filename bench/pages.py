"""Draining by pages: volume, sustained, under failures and kills, and beside Celery and Dramatiq."""

import operator
import os
import time
from collections.abc import Sequence
from functools import partial, reduce

from bench import bare
from bench.bare import Asked
from bench.counters import cpu_seconds
from bench.drain import IN_FLIGHT
from bench.flow import BATCH, Drained, Flow, sms
from bench.harness import PARTS, Bench, Running
from bench.peers import subjects
from bench.peers.measure import ANSWER_S, KILL_AT, VENDOR, Found, Tally, drain, with_kills
from bench.peers.subjects import HERALD, HeraldSubject, pages_exist
from bench.peers.systems import PEERS
from bench.report import Report, Series, Target, at_least, at_most

PAGED, SINGLE = sms("paged"), sms("single")
"""The same ways of treating a notification, in lane bulk and in lane normal (bench/peers/herald.toml)."""
QUEUES = ("Celery", "Dramatiq")
FIFTHS = 5
DRAIN_S_MAX = 900.0
FAILING_SHARE = 0.05

_ENDED_WELL = "SELECT count(*) FROM notifications WHERE type = 'paged' AND status IN ('sent', 'delivered')"


async def measure(bench: Bench) -> Report:
    """Herald by pages and with a workflow each, then the queues, each alone on the machine."""
    report = Report("pages", "Draining by pages")
    there = pages_exist()
    sizes = {
        "sustained": bench.option(
            "size", bench.scaled(100_000, 2_000) if there else bench.scaled(2_000, 200)
        ),
        "with_receipts": bench.scaled(20_000, 1_000) if there else bench.scaled(500, 100),
        "side_by_side": bench.scaled(4_000, 500) if there else bench.scaled(500, 100),
        "workflow_each": bench.scaled(300, 50),
        "failing": bench.scaled(5_000, 500) if there else bench.scaled(500, 100),
        "killed": bench.scaled(3_000, 500) if there else bench.scaled(500, 100),
    }
    report.scale = {**sizes, "batch": BATCH}
    if not there:
        report.notes.append("This revision has no pages: everything here goes through a workflow each.")
    catalog = HERALD + ('paging = "bulk"\n' if there else "")
    # One provider, so that a call that fails is a pass that failed.
    async with (
        subjects.herald(bench, "Herald, by pages", PAGED.type, catalog) as subject,
        Flow(subject.running) as flow,
    ):
        await _Pages(bench, subject, flow, report, sizes).measure()
    ours = next(figure for figure in report.figures if figure.name == "by pages").samples
    await _beside(bench, report, sizes["side_by_side"], ours)
    return report


class _Pages:
    def __init__(
        self, bench: Bench, subject: HeraldSubject, flow: Flow, report: Report, sizes: dict[str, int]
    ) -> None:
        self._bench = bench
        self._subject = subject
        self._running: Running = subject.running
        self._flow = flow
        self._report = report
        self._sizes = sizes

    async def measure(self) -> None:
        await self._flow.people(sum(self._sizes.values()) * (self._bench.repetitions + 1))
        await self._running.instant_vendors()
        await self._drained(BATCH if self._sizes["sustained"] > BATCH else 50)
        await self._in_turns()
        await self._sustained("each receipt at once", self._sizes["with_receipts"])
        await self._failing()
        await self._killed()
        # Last: what waits for a receipt that never comes would count as left to do.
        await self._running.instant_vendors(callbacks=False)
        await self._sustained("no receipts yet", self._sizes["sustained"], at_least(1000))

    async def _drained(self, size: int) -> Drained:
        drained = await self._flow.drain(PAGED, size, DRAIN_S_MAX)
        await self._flow.quiet()
        return drained

    async def _in_turns(self) -> None:
        """Pages, a workflow each and the bare limit, in turns."""
        report = self._report
        paged: list[float] = []
        single: list[float] = []
        limit: list[float] = []
        for _ in range(self._bench.repetitions):
            paged.append((await self._drained(self._sizes["side_by_side"])).per_s)
            size = self._sizes["workflow_each"]
            single.append((await self._flow.drain(SINGLE, size, DRAIN_S_MAX)).per_s)
            await self._flow.quiet()
            asked = Asked(self._running.temporal_address, size, IN_FLIGHT)
            limit.append((await bare.run(asked)).per_s)
            self._bench.say(
                f"  by pages {paged[-1]:,.0f}/s, a workflow each {single[-1]:,.0f}/s, bare {limit[-1]:.0f}/s"
            )
        group = "side by side"
        report.add("by pages", paged, "/s", group=group)
        report.add("a workflow each", single, "/s", group=group)
        report.add("bare workflows that do nothing", limit, "/s", group=group)
        against = [one / other for one, other in zip(paged, single, strict=True)]
        report.add("pages against a workflow each", against, "×", at_least(15), group=group)

    async def _sustained(self, receipts: str, size: int, target: Target | None = None) -> None:
        """Large ones: their curves, their fifths, and what every part spent."""
        group = f"{size:,} in lane bulk, {receipts}"
        runs: list[Drained] = []
        spent: dict[str, list[float]] = {part: [] for part in PARTS}
        for _ in range(self._bench.repetitions):
            before = {part: cpu_seconds(self._running.pid(part)) for part in PARTS}
            runs.append(await self._drained(size))
            for part, costs in spent.items():
                costs.append((cpu_seconds(self._running.pid(part)) - before[part]) * 1000 / size)
            self._bench.say(
                f"  {size:,}: accepted {runs[-1].accepted_per_s:,.0f}/s, drained {runs[-1].per_s:,.0f}/s"
            )
        add = partial(self._report.add, group=group)
        add("accepted while they drain", [run.accepted_per_s for run in runs], "/s")
        add("drained, first to last", [run.per_s for run in runs], "/s", target)
        add("drained, each fifth", [rate for run in runs for rate in run.rates(FIFTHS)], "/s", target)
        for part, costs in spent.items():
            add(f"CPU of {part}", costs, "ms each")
        totals = [sum(costs) for costs in zip(*spent.values(), strict=True)]
        ours = [total - vendor for total, vendor in zip(totals, spent["simulators"], strict=True)]
        add("CPU of all but the vendor", ours, "ms each")
        cores = [(os.cpu_count() or 1) * 1000 / total for total in totals]
        add("what all cores would drain at this cost", cores, "notifications/s")
        _once(self._report, group, runs, size)
        lines = {f"run {number}": run.curve() for number, run in enumerate(runs, 1)}
        series = Series(f"by pages, {receipts}", "seconds", "notifications at the vendor", lines)
        self._report.series.append(series)

    async def _failing(self) -> None:
        """One call in twenty is refused with 503: those become workflows of their own, and end too."""
        size, group = self._sizes["failing"], f"{FAILING_SHARE:.0%} of the vendor's calls fail"
        runs: list[Drained] = []
        took: list[float] = []
        ended = 0
        await self._flow.simulators.fault(VENDOR, "error_rate", status=503, rate=FAILING_SHARE)
        for _ in range(self._bench.repetitions):
            before = await self._ended_well()
            started = time.monotonic()
            runs.append(await self._flow.drain(PAGED, size, DRAIN_S_MAX))
            await self._flow.quiet(300)
            took.append(time.monotonic() - started)
            ended += await self._ended_well() - before
            self._bench.say(f"  {group}: {ended} ended well, the last {size} in {took[-1]:.0f} s")
        await self._flow.simulators.heal(VENDOR)
        add, of = partial(self._report.add, group=group), size * len(runs)
        add("drained, first to last", [run.per_s for run in runs], "/s")
        add("until all had ended", took, "s")
        add("ended as sent or delivered", ended, f"of {of}", at_least(of))
        _once(self._report, group, runs, size)

    async def _ended_well(self) -> int:
        return await self._running.value(_ENDED_WELL)

    async def _killed(self) -> None:
        await self._flow.simulators.fault(VENDOR, "accept_then_stall", latency_s=ANSWER_S)
        tallies: list[Tally] = []
        group = f"workers killed {len(KILL_AT)} times"
        for _ in range(self._bench.repetitions):
            tallies.append(await with_kills(self._subject, self._sizes["killed"]))
            self._bench.say(f"  {group}: {tallies[-1]}")
        await self._flow.simulators.heal(VENDOR)
        tally = reduce(operator.add, tallies)
        add, of = partial(self._report.add, group=group), f"of {tally.of}"
        add("exactly once at the vendor", tally.once, of, at_least(tally.of))
        add("repeated", tally.repeated, of, at_most(0))
        add("missing", tally.missing, of, at_most(0))
        add("until nothing was left", [one.seconds for one in tallies], "s")


async def _beside(bench: Bench, report: Report, size: int, ours: tuple[float, ...]) -> None:
    """Celery and Dramatiq on the same six steps (bench/peers)."""
    group, fastest = "side by side", [0.0] * bench.repetitions
    for peer in (peer for peer in PEERS if peer.name in QUEUES):
        async with subjects.alternative(peer) as subject:
            await subject.simulators.callbacks(VENDOR, mode="normal", delay_s=0)
            await drain(subject, max(50, size // 10), Found(""))
            found = Found(peer.name)
            for _ in range(bench.repetitions):
                await drain(subject, size, found)
                bench.say(f"  {peer.name}: {found.throughput[-1]:,.0f}/s")
        report.add(peer.name, found.throughput, "/s", group=group)
        fastest = [max(pair) for pair in zip(fastest, found.throughput, strict=True)]
    against = [one / other for one, other in zip(ours, fastest, strict=True)]
    report.add("pages against the faster of Celery and Dramatiq", against, "×", at_least(1), group=group)


def _once(report: Report, group: str, runs: Sequence[Drained], size: int) -> None:
    of = size * len(runs)
    once = sum(times == 1 for run in runs for times in run.times.values())
    report.add("exactly once at the vendor", once, f"of {of}", at_least(of), group=group)
