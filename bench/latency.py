"""Latency: from the client's send to the vendor's receipt of the request, idle and beside a bulk drain."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

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
_PERCENTS = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 100)

IDLE, BESIDE = "nothing else running", "beside a bulk drain"


async def measure(bench: Bench) -> Report:
    """OTPs at fixed times, first alone, then while lane bulk drains; only those sent meanwhile count."""
    report = Report("latency", "From the client's send to the vendor")
    there = pages_exist()
    seconds = bench.option("seconds", bench.scaled(66, 8))
    bulk = bench.option("bulk", bench.scaled(100_000 if there else 20_000, 4_000 if there else 1_000))
    report.scale = {"seconds": seconds, "otp_per_s": RATE_PER_S, "bulk": bulk}
    async with AsyncExitStack() as open:
        running = await open.enter_async_context(bench.stack(catalog=paging("bulk" if there else "never")))
        flow = await open.enter_async_context(Flow(running))
        await flow.people(bulk)
        await running.instant_vendors()
        await flow.one_by_one(OTP, RATE_PER_S, WARM_S)
        await flow.simulators.forget(OTP.vendor)
        await flow.one_by_one(OTP, RATE_PER_S, seconds)
        idle = [took for _, took in await flow.stamped(OTP.vendor)]
        bench.say(f"  {IDLE}: p50 {_percentile(idle, 50):.0f} ms, p99 {_percentile(idle, 99):.0f} ms")
        busy, drained_per_s = await _beside_bulk(flow, bulk, seconds)
        bench.say(f"  {BESIDE}: p50 {_percentile(busy, 50):.0f} ms, p99 {_percentile(busy, 99):.0f} ms")
    tell(report, IDLE, idle, at_most(60), at_most(200))
    tell(report, BESIDE, busy)
    report.add("bulk drained meanwhile", drained_per_s, "/s", group=BESIDE)
    ratio = _percentile(busy, 99) / _percentile(idle, 99)
    report.add("p99 beside a bulk drain against idle", ratio, "×", at_most(2))
    report.series.append(curves({IDLE: idle, BESIDE: busy}))
    return report


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


def tell(
    report: Report,
    group: str,
    latencies_ms: Sequence[float],
    p50: Target | None = None,
    p99: Target | None = None,
) -> None:
    """Add the percentiles of a number of OTPs. Raises ValueError when there are none."""
    if not latencies_ms:
        raise ValueError(f"{group}: no OTP reached the vendor")
    report.add("p50", _percentile(latencies_ms, 50), "ms", p50, group=group)
    report.add("p90", _percentile(latencies_ms, 90), "ms", group=group)
    report.add("p99", _percentile(latencies_ms, 99), "ms", p99, group=group)
    report.add("longest", max(latencies_ms), "ms", group=group)
    note = "" if len(latencies_ms) >= SAMPLES_MIN else "too few for a p99"
    report.add("OTPs", len(latencies_ms), "", at_least(SAMPLES_MIN), group=group, note=note)


def curves(latencies_ms: dict[str, list[float]]) -> Series:
    """For a plot: the latency that so many percent did not exceed."""
    lines = {
        name: [(_percentile(values, percent), float(percent)) for percent in _PERCENTS]
        for name, values in latencies_ms.items()
    }
    return Series("latency of an OTP", "milliseconds, send to vendor", "percent not above", lines)


def _percentile(values: Sequence[float], percent: float) -> float:
    return percentile(sorted(values), percent)
