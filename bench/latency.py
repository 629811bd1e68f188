"""Latency: from the client's send to the vendor's receipt of the request, idle and beside a bulk drain."""

import time
from collections.abc import Mapping, Sequence
from itertools import chain

from bench.flow import Flow, sms
from bench.harness import Bench, paging
from bench.load import percentile
from bench.peers.subjects import pages_exist
from bench.report import Report, Series, Target, at_least, at_most

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


async def measure(bench: Bench) -> Report:
    """OTPs at fixed times, alone and then while lane bulk drains, several times; of the latter those count
    that are sent meanwhile.
    """
    report = Report("latency", "From the client's send to the vendor")
    there = pages_exist()
    catalog = paging("bulk" if there else "never")
    seconds = bench.option("seconds", bench.scaled(66, 8))
    bulk = bench.option("bulk", bench.scaled(100_000 if there else 20_000, 4_000 if there else 1_000))
    report.scale = {"seconds": seconds, "otp_per_s": RATE_PER_S, "bulk": bulk}
    idle: list[Sequence[float]] = []
    busy: list[Sequence[float]] = []
    drained_per_s: list[float] = []
    for _ in range(bench.repetitions):
        # A new one each time: vendors go on for minutes with what they have to report of the last.
        async with bench.stack(catalog=catalog) as running, Flow(running) as flow:
            await flow.people(bulk)
            await running.instant_vendors()
            idle.append(await alone(flow, seconds))
            latencies, per_s = await _beside_bulk(flow, bulk, seconds)
        busy.append(latencies)
        drained_per_s.append(per_s)
        idle_p99 = percentile_of(idle[-1], 99)
        bench.say(f"  {against(latencies, idle[-1]):.2f} × the p99 of {idle_p99:.0f} ms")
    tell(report, IDLE, idle, at_most(60), at_most(200))
    tell(report, BESIDE, busy)
    report.add("bulk drained meanwhile", drained_per_s, "/s", group=BESIDE)
    ratios = [against(*runs) for runs in zip(busy, idle, strict=True)]
    report.add("p99 beside a bulk drain against idle", ratios, "×", at_most(P99_RATIO_MAX))
    report.series.append(curves({IDLE: idle, BESIDE: busy}))
    return report


async def alone(flow: Flow, seconds: float) -> list[float]:
    """The latencies in milliseconds of OTPs at fixed times, with nothing beside them."""
    await flow.one_by_one(OTP, RATE_PER_S, WARM_S)
    await flow.simulators.forget(OTP.vendor)
    await flow.one_by_one(OTP, RATE_PER_S, seconds)
    return [took for _, took in await flow.stamped(OTP.vendor)]


async def _beside_bulk(flow: Flow, bulk: int, seconds: float) -> tuple[list[float], float]:
    """The latencies of those that were sent while the drain ran, and its notifications per second."""
    await flow.simulators.forget(OTP.vendor)
    await flow.accept(BULK, bulk)
    sent_from = time.time()
    await flow.one_by_one(OTP, RATE_PER_S, seconds)
    received = await flow.received(BULK.vendor)
    drained_by = received[-1] if len(received) >= bulk else time.time()
    meanwhile = [at for at in received if sent_from <= at]
    latencies = [took for sent_at, took in await flow.stamped(OTP.vendor) if sent_at < drained_by]
    return latencies, len(meanwhile) / max(drained_by - sent_from, 1e-3)


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
