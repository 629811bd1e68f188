"""Latency: from the client's send to the vendor's receipt of the request, idle and beside a bulk drain."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from bench.flow import Flow, sms
from bench.harness import Bench, Running, paging
from bench.load import percentile
from bench.peers.subjects import pages_exist
from bench.priorities import go_first
from bench.report import Report, Series, Target, at_least, at_most
from bench.stages import Stages, stages, tell_stages

OTP, BULK = sms("otp"), sms("marketing")
RATE_PER_S = 8.0
"""Slow enough that an OTP, which stays open until its receipt, meets a machine that is almost idle."""
SAMPLES_MIN = 500
"""So that a p99 has five samples above it."""
WARM_S = 3.0
P99_RATIO_MAX = 2.0
"""So much longer than idle ones may one in a hundred OTPs take beside volume."""
_PERCENTS = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 100)

IDLE, BESIDE = "nothing else running", "beside a bulk drain"
HURRIED = "with real-time priorities (to see why)"


@dataclass(slots=True)
class _Runs:
    """What several runs found: latencies in milliseconds, their stages, and how fast it drained."""

    idle: list[Sequence[float]] = field(default_factory=list[Sequence[float]])
    idle_stages: list[Stages] = field(default_factory=list[Stages])
    busy: list[Sequence[float]] = field(default_factory=list[Sequence[float]])
    busy_stages: list[Stages] = field(default_factory=list[Stages])
    drained_per_s: list[float] = field(default_factory=list[float])


async def measure(bench: Bench) -> Report:
    """OTPs at fixed times, alone and then while lane bulk drains, several times; of the latter those count
    that are sent meanwhile. In turns with the same where whatever an OTP passes through goes first.
    """
    report = Report("latency", "From the client's send to the vendor")
    there = pages_exist()
    seconds = bench.option("seconds", bench.scaled(66, 8))
    bulk = bench.option("bulk", bench.scaled(100_000 if there else 20_000, 4_000 if there else 1_000))
    report.scale = {"seconds": seconds, "otp_per_s": RATE_PER_S, "bulk": bulk}
    runs, hurried = _Runs(), _Runs()
    may_hurry = True
    for _ in range(bench.repetitions):
        await _run(bench, runs, bulk, seconds)
        may_hurry = may_hurry and await _run(bench, hurried, bulk, seconds, prepare=go_first)
    tell(report, IDLE, runs.idle, at_most(60), at_most(200))
    tell_stages(report, IDLE, runs.idle_stages)
    tell(report, BESIDE, runs.busy)
    tell_stages(report, BESIDE, runs.busy_stages)
    report.add("bulk drained meanwhile", runs.drained_per_s, "/s", group=BESIDE)
    if may_hurry:
        tell(report, f"{IDLE}, {HURRIED}", hurried.idle)
        tell(report, f"{BESIDE}, {HURRIED}", hurried.busy)
        report.add("bulk drained meanwhile", hurried.drained_per_s, "/s", group=f"{BESIDE}, {HURRIED}")
    else:
        report.notes.append("Real-time priorities need a right that this user has not (CAP_SYS_NICE).")
    ratios = [against(*each) for each in zip(runs.busy, runs.idle, strict=True)]
    report.add("p99 beside a bulk drain against idle", ratios, "×", at_most(P99_RATIO_MAX))
    report.series.append(curves({IDLE: runs.idle, BESIDE: runs.busy}))
    return report


async def _run(
    bench: Bench,
    runs: _Runs,
    bulk: int,
    seconds: float,
    prepare: Callable[[Running], bool] = lambda _: True,
) -> bool:
    """Both on a stack of their own: vendors go on for minutes with what they have to report of the last.
    False, and nothing measured, where it cannot be prepared.
    """
    catalog = paging("bulk" if pages_exist() else "never")
    async with bench.stack(catalog=catalog) as running, Flow(running) as flow:
        if not prepare(running):
            return False
        await flow.people(bulk)
        await running.instant_vendors()
        runs.idle.append(await alone(flow, seconds))
        runs.idle_stages.append(await stages(flow, OTP))
        await _beside_bulk(flow, runs, bulk, seconds)
    idle_p99 = percentile_of(runs.idle[-1], 99)
    bench.say(f"  {against(runs.busy[-1], runs.idle[-1]):.2f} × the p99 of {idle_p99:.0f} ms")
    return True


async def alone(flow: Flow, seconds: float) -> list[float]:
    """The latencies in milliseconds of OTPs at fixed times, with nothing beside them."""
    await flow.one_by_one(OTP, RATE_PER_S, WARM_S)
    await flow.simulators.forget(OTP.vendor)
    await flow.one_by_one(OTP, RATE_PER_S, seconds)
    return [took for _, took in await flow.stamped(OTP.vendor)]


async def _beside_bulk(flow: Flow, runs: _Runs, bulk: int, seconds: float) -> None:
    """Those that were sent while the drain ran, and its notifications per second."""
    await flow.simulators.forget(OTP.vendor)
    await flow.accept(BULK, bulk)
    sent_from = time.time()
    await flow.one_by_one(OTP, RATE_PER_S, seconds)
    received = await flow.received(BULK.vendor)
    drained_by = received[-1] if len(received) >= bulk else time.time()
    meanwhile = [at for at in received if sent_from <= at]
    runs.busy.append([took for sent_at, took in await flow.stamped(OTP.vendor) if sent_at < drained_by])
    runs.busy_stages.append(await stages(flow, OTP, drained_by))
    runs.drained_per_s.append(len(meanwhile) / max(drained_by - sent_from, 1e-3))


def against(latencies_ms: Sequence[float], idle_ms: Sequence[float]) -> float:
    """The p99 of OTPs beside something, as a multiple of the idle one."""
    return percentile_of(latencies_ms, 99) / percentile_of(idle_ms, 99)


def tell(
    report: Report,
    group: str,
    runs_ms: Sequence[Sequence[float]],
    p50: Target | None = None,
    p99: Target | None = None,
) -> None:
    """Add the percentiles of several runs' OTPs. Raises ValueError when one of them has none."""
    if not all(runs_ms):
        raise ValueError(f"{group}: no OTP reached the vendor")

    def of_each(percent: float) -> list[float]:
        return [percentile_of(run, percent) for run in runs_ms]

    report.add("p50", of_each(50), "ms", p50, group=group)
    report.add("p90", of_each(90), "ms", group=group)
    report.add("p99", of_each(99), "ms", p99, group=group)
    report.add("longest", of_each(100), "ms", group=group)
    counts = [len(run) for run in runs_ms]
    note = "" if min(counts) >= SAMPLES_MIN else "too few for a p99"
    report.add("OTPs", counts, "", at_least(SAMPLES_MIN), group=group, note=note)


def curves(runs_ms: Mapping[str, Sequence[Sequence[float]]]) -> Series:
    """For a plot: the latency that so many percent did not exceed, over all runs."""
    lines = {
        name: [(percentile_of([*chain(*runs)], percent), float(percent)) for percent in _PERCENTS]
        for name, runs in runs_ms.items()
    }
    return Series("latency of an OTP", "milliseconds, send to vendor", "percent not above", lines)


def percentile_of(values: Sequence[float], percent: float) -> float:
    """A percentile of values in any order."""
    return percentile(sorted(values), percent)
