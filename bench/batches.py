"""Draining in batches: sustained volume, failures and kills, and a comparison with Celery and Dramatiq."""

import operator
import os
import time
from collections.abc import Sequence
from functools import partial, reduce

from bench import temporal_baseline
from bench.comparison import subjects
from bench.comparison.measure import ANSWER_S, KILL_AT, Measured, Tally, drain, with_kills
from bench.comparison.shared_settings import VENDOR
from bench.comparison.subjects import HERALD, HeraldSubject
from bench.comparison.systems import ALTERNATIVES
from bench.counters import cpu_seconds
from bench.drain import IN_FLIGHT
from bench.harness import PARTS, Bench, Running, batching
from bench.report import Report, Series, Target, at_least, at_most
from bench.temporal_baseline import Baseline
from bench.traffic import BATCH, Drained, Traffic, sms

BATCHED, SINGLE = sms("batched"), sms("single")
"""The same type in lane bulk and in lane normal (bench/comparison/herald.toml)."""
QUEUES = ("Celery", "Dramatiq")
FIFTHS = 5
DRAIN_S_MAX = 900.0
FAILING_SHARE = 0.05

_ENDED_WELL = "SELECT count(*) FROM notifications WHERE type = 'batched' AND status IN ('sent', 'delivered')"


async def measure(bench: Bench) -> Report:
    """Herald in batches and with one workflow each, then the queues, each alone on the machine."""
    report = Report("batches", "Draining in batches")
    sizes = {
        "sustained": bench.option("size", bench.scaled(100_000, 2_000, essential=20_000)),
        "with_receipts": bench.scaled(20_000, 1_000, essential=10_000),
        "side_by_side": bench.scaled(4_000, 500),
        "workflow_each": bench.scaled(300, 50),
        "failing": bench.scaled(5_000, 500),
        "killed": bench.scaled(3_000, 500),
    }
    report.scale = {**sizes, "submitted_in": BATCH}
    # One provider only, so that every failed call is a failed pass.
    async with (
        subjects.herald(bench, "Herald, in batches", BATCHED.type, batching("bulk", HERALD)) as subject,
        Traffic(subject.running) as traffic,
    ):
        await _Batches(bench, subject, traffic, report, sizes).measure()
    if not bench.essential:
        ours = next(figure for figure in report.figures if figure.name == "in batches").samples
        await _queues(bench, report, sizes["side_by_side"], ours)
    return report


class _Batches:
    def __init__(
        self, bench: Bench, subject: HeraldSubject, traffic: Traffic, report: Report, sizes: dict[str, int]
    ) -> None:
        self._bench = bench
        self._subject = subject
        self._running: Running = subject.running
        self._traffic = traffic
        self._report = report
        self._sizes = sizes

    async def measure(self) -> None:
        await self._traffic.add_users(sum(self._sizes.values()) * (self._bench.repetitions + 1))
        await self._running.instant_vendors()
        await self._drained(BATCH)
        if not self._bench.essential:
            await self._in_turns()
        await self._sustained("immediate receipts", self._sizes["with_receipts"])
        if not self._bench.essential:
            await self._failing()
            await self._killed()
        # Last, because notifications that wait for a receipt count as open.
        await self._running.instant_vendors(callbacks=False)
        await self._sustained("no receipts", self._sizes["sustained"], at_least(1000))

    async def _drained(self, size: int) -> Drained:
        drained = await self._traffic.drain(BATCHED, size, DRAIN_S_MAX)
        await self._traffic.quiet()
        return drained

    async def _in_turns(self) -> None:
        """Batches, one workflow each and the Temporal baseline, in turns."""
        report = self._report
        batched: list[float] = []
        single: list[float] = []
        baseline: list[float] = []
        for _ in range(self._bench.repetitions):
            batched.append((await self._drained(self._sizes["side_by_side"])).per_s)
            size = self._sizes["workflow_each"]
            single.append((await self._traffic.drain(SINGLE, size, DRAIN_S_MAX)).per_s)
            await self._traffic.quiet()
            asked = Baseline(self._running.temporal_address, size, IN_FLIGHT)
            baseline.append((await temporal_baseline.run(asked)).per_s)
            self._bench.say(
                f"  in batches {batched[-1]:,.0f}/s, one workflow each {single[-1]:,.0f}/s, "
                f"Temporal baseline {baseline[-1]:.0f}/s"
            )
        group = "side by side"
        report.add("in batches", batched, "/s", group=group)
        report.add("one workflow each", single, "/s", group=group)
        report.add("Temporal baseline", baseline, "/s", group=group)
        against = [one / other for one, other in zip(batched, single, strict=True)]
        report.add("batches against one workflow each", against, "×", at_least(15), group=group)

    async def _sustained(self, receipts: str, size: int, target: Target | None = None) -> None:
        """Large drains: their curves, the rate of each fifth, and the CPU time of every part."""
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
        add("accepted while draining", [run.accepted_per_s for run in runs], "/s")
        add("drained, first to last", [run.per_s for run in runs], "/s", target)
        add("drained, each fifth", [rate for run in runs for rate in run.rates(FIFTHS)], "/s", target)
        for part, costs in spent.items():
            add(f"CPU of {part}", costs, "ms each")
        totals = [sum(costs) for costs in zip(*spent.values(), strict=True)]
        ours = [total - vendor for total, vendor in zip(totals, spent["simulators"], strict=True)]
        add("CPU of all but the vendor", ours, "ms each")
        cores = [(os.cpu_count() or 1) * 1000 / total for total in totals]
        add("all cores at this cost", cores, "notifications/s")
        _once(self._report, group, runs, size)
        lines = {f"run {number}": run.curve() for number, run in enumerate(runs, 1)}
        series = Series(f"in batches, {receipts}", "seconds", "notifications at the vendor", lines)
        self._report.series.append(series)

    async def _failing(self) -> None:
        """One call in twenty is refused with 503: those notifications continue as single workflows."""
        size, group = self._sizes["failing"], f"{FAILING_SHARE:.0%} of the vendor's calls fail"
        runs: list[Drained] = []
        took: list[float] = []
        ended = 0
        await self._traffic.simulators.fault(VENDOR, "error_rate", status=503, rate=FAILING_SHARE)
        for _ in range(self._bench.repetitions):
            before = await self._ended_well()
            started = time.monotonic()
            runs.append(await self._traffic.drain(BATCHED, size, DRAIN_S_MAX))
            await self._traffic.quiet(300)
            took.append(time.monotonic() - started)
            ended += await self._ended_well() - before
            self._bench.say(f"  {group}: {ended} ended well, the last {size} in {took[-1]:.0f} s")
        await self._traffic.simulators.heal(VENDOR)
        add, of = partial(self._report.add, group=group), size * len(runs)
        add("drained, first to last", [run.per_s for run in runs], "/s")
        add("until all had ended", took, "s")
        add("ended as sent or delivered", ended, f"of {of:,}", at_least(of))
        _once(self._report, group, runs, size)

    async def _ended_well(self) -> int:
        return await self._running.value(_ENDED_WELL)

    async def _killed(self) -> None:
        await self._traffic.simulators.fault(VENDOR, "accept_then_stall", latency_s=ANSWER_S)
        tallies: list[Tally] = []
        group = f"workers killed {len(KILL_AT)} times"
        for _ in range(self._bench.repetitions):
            tallies.append(await with_kills(self._subject, self._sizes["killed"]))
            self._bench.say(f"  {group}: {tallies[-1]}")
        await self._traffic.simulators.heal(VENDOR)
        tally = reduce(operator.add, tallies)
        add, of = partial(self._report.add, group=group), f"of {tally.of:,}"
        add("exactly once at the vendor", tally.once, of, at_least(tally.of))
        add("repeated", tally.repeated, of, at_most(0))
        add("missing", tally.missing, of, at_most(0))
        add("until nothing was left", [one.seconds for one in tallies], "s")


async def _queues(bench: Bench, report: Report, size: int, ours: tuple[float, ...]) -> None:
    """Celery and Dramatiq with the same six steps (bench/comparison)."""
    group, fastest = "side by side", [0.0] * bench.repetitions
    for queue in (one for one in ALTERNATIVES if one.name in QUEUES):
        async with subjects.alternative(queue) as subject:
            await subject.simulators.callbacks(VENDOR, mode="normal", delay_s=0)
            await drain(subject, max(50, size // 10), Measured(""))
            measured = Measured(queue.name)
            for _ in range(bench.repetitions):
                await drain(subject, size, measured)
                bench.say(f"  {queue.name}: {measured.throughput[-1]:,.0f}/s")
        report.add(queue.name, measured.throughput, "/s", group=group)
        fastest = [max(pair) for pair in zip(fastest, measured.throughput, strict=True)]
    against = [one / other for one, other in zip(ours, fastest, strict=True)]
    report.add("batches against the faster of Celery and Dramatiq", against, "×", at_least(1), group=group)


def _once(report: Report, group: str, runs: Sequence[Drained], size: int) -> None:
    of = size * len(runs)
    once = sum(times == 1 for run in runs for times in run.times.values())
    report.add("exactly once at the vendor", once, f"of {of:,}", at_least(of), group=group)
