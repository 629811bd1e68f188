"""Latency: from the client's request to its arrival at the vendor, idle and during a bulk drain."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from bench.harness import Bench, batching
from bench.load import percentile
from bench.report import Report, Series, Target, at_least, at_most
from bench.stages import Stages, add_stages, stages
from bench.traffic import Traffic, sms

OTP, BULK = sms("otp"), sms("marketing")
RATE_PER_S = 8.0
"""Slow enough that each OTP, open until its receipt, meets an almost idle machine."""
SAMPLES_MIN = 500
"""So that a p99 has five samples above it."""
WARM_S = 3.0
P99_RATIO_MAX = 2.0
"""The largest acceptable ratio of the p99 during a drain to the idle one."""
_PERCENTS = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 100)

IDLE, DRAINING = "idle", "during a bulk drain"


@dataclass(slots=True)
class _Runs:
    """The results of several runs: latencies in milliseconds, their stages, and the drain's rate."""

    idle: list[Sequence[float]] = field(default_factory=list[Sequence[float]])
    idle_stages: list[Stages] = field(default_factory=list[Stages])
    busy: list[Sequence[float]] = field(default_factory=list[Sequence[float]])
    busy_stages: list[Stages] = field(default_factory=list[Stages])
    drained_per_s: list[float] = field(default_factory=list[float])


async def measure(bench: Bench) -> Report:
    """Scheduled OTPs, first alone, then while lane bulk drains; only those sent during the drain count."""
    report = Report("latency", "From the client's request to the vendor")
    seconds = bench.option("seconds", bench.scaled(66, 8, essential=40))
    bulk = bench.option("bulk", bench.scaled(100_000, 4_000))
    report.scale = {"seconds": seconds, "otp_per_s": RATE_PER_S, "bulk": bulk}
    runs = _Runs()
    for _ in range(bench.repetitions):
        await _run(bench, runs, bulk, seconds)
    add_latencies(report, IDLE, runs.idle, at_most(60), at_most(200))
    add_stages(report, IDLE, runs.idle_stages)
    if bench.essential:
        return report
    add_latencies(report, DRAINING, runs.busy)
    add_stages(report, DRAINING, runs.busy_stages)
    report.add("bulk drained meanwhile", runs.drained_per_s, "/s", group=DRAINING)
    ratios = [p99_ratio(*each) for each in zip(runs.busy, runs.idle, strict=True)]
    report.add("p99 during a bulk drain against idle", ratios, "×", at_most(P99_RATIO_MAX))
    report.series.append(curves({IDLE: runs.idle, DRAINING: runs.busy}))
    return report


async def _run(bench: Bench, runs: _Runs, bulk: int, seconds: float) -> None:
    """One run on a new stack: vendors still send the reports of an earlier run for minutes."""
    async with bench.stack(catalog=batching("bulk")) as running, Traffic(running) as traffic:
        await traffic.add_users(bulk)
        await running.instant_vendors()
        runs.idle.append(await alone(traffic, seconds))
        runs.idle_stages.append(await stages(traffic, OTP))
        if not bench.essential:
            await _during_bulk(traffic, runs, bulk, seconds)
            bench.say(f"  p99 {p99_ratio(runs.busy[-1], runs.idle[-1]):.2f} × the idle one")
    bench.say(f"  p99 when idle: {percentile_of(runs.idle[-1], 99):.0f} ms")


async def alone(traffic: Traffic, seconds: float) -> list[float]:
    """The latencies in milliseconds of scheduled OTPs on an otherwise idle stack."""
    await traffic.one_by_one(OTP, RATE_PER_S, WARM_S)
    await traffic.simulators.forget(OTP.vendor)
    await traffic.one_by_one(OTP, RATE_PER_S, seconds)
    return [took for _, took in await traffic.stamped(OTP.vendor)]


async def _during_bulk(traffic: Traffic, runs: _Runs, bulk: int, seconds: float) -> None:
    """Measure the OTPs sent while the drain runs, and the rate of the drain."""
    await traffic.simulators.forget(OTP.vendor)
    await traffic.accept(BULK, bulk)
    sent_from = time.time()
    await traffic.one_by_one(OTP, RATE_PER_S, seconds)
    received = await traffic.received(BULK.vendor)
    drained_by = received[-1] if len(received) >= bulk else time.time()
    meanwhile = [at for at in received if sent_from <= at]
    runs.busy.append([took for sent_at, took in await traffic.stamped(OTP.vendor) if sent_at < drained_by])
    runs.busy_stages.append(await stages(traffic, OTP, drained_by))
    runs.drained_per_s.append(len(meanwhile) / max(drained_by - sent_from, 1e-3))


def p99_ratio(latencies_ms: Sequence[float], idle_ms: Sequence[float]) -> float:
    """The p99 of OTPs under load, as a multiple of the idle one."""
    return percentile_of(latencies_ms, 99) / percentile_of(idle_ms, 99)


def add_latencies(
    report: Report,
    group: str,
    runs_ms: Sequence[Sequence[float]],
    p50: Target | None = None,
    p99: Target | None = None,
) -> None:
    """Add the percentiles of each run. Raises ValueError for a run that sent nothing."""
    if not all(runs_ms):
        raise ValueError(f"{group}: nothing reached the vendor")

    def of_each(percent: float) -> list[float]:
        return [percentile_of(run, percent) for run in runs_ms]

    report.add("p50", of_each(50), "ms", p50, group=group)
    report.add("p90", of_each(90), "ms", group=group)
    report.add("p99", of_each(99), "ms", p99, group=group)
    report.add("longest", of_each(100), "ms", group=group)
    counts = [len(run) for run in runs_ms]
    note = "" if min(counts) >= SAMPLES_MIN else "too few for a p99"
    report.add("notifications", counts, "", at_least(SAMPLES_MIN), group=group, note=note)


def curves(runs_ms: Mapping[str, Sequence[Sequence[float]]]) -> Series:
    """For a plot: the percentiles of the latencies of all runs."""
    lines = {
        name: [(percentile_of([*chain(*runs)], percent), float(percent)) for percent in _PERCENTS]
        for name, runs in runs_ms.items()
    }
    return Series("latency of an OTP", "milliseconds, request to vendor", "percent of OTPs", lines)


def percentile_of(values: Sequence[float], percent: float) -> float:
    """A percentile of unsorted values."""
    return percentile(sorted(values), percent)
