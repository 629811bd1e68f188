"""Fairness: one tenant's latency, alone and while another tenant's burst drains in the same lane."""

import time
from collections.abc import Sequence

import asyncpg

from bench.harness import Bench, Running, batching
from bench.latency import WARM_S, add_latencies, p99_ratio, percentile_of
from bench.report import Report, at_most
from bench.traffic import Kind, Traffic, sms
from storage import api_keys

RATE_PER_S = 8.0
KINDS = (sms("otp"), sms("alert"), sms("marketing"))
"""One for each way through a worker: lane critical, a lane that a burst turns to batches, and lane bulk."""
BURST = 10_000
BURST_S_MAX = 120.0
"""What a burst has not sent by then is left out."""
PART_S = 5.0
RATIO_MAX = 2.0
"""The largest acceptable ratio of the p99 beside another tenant's burst to the p99 alone."""


async def measure(bench: Bench) -> Report:
    """Scheduled notifications of one tenant, alone and then beside another tenant's burst in their lane."""
    report = Report("fairness", "One tenant beside another one's burst in the same lane")
    seconds = bench.option("seconds", bench.scaled(40, 8))
    burst = bench.option("burst", bench.scaled(BURST, 1_000))
    report.scale = {"seconds": seconds, "per_s": RATE_PER_S, "burst": burst}
    for kind in KINDS:
        alone: list[Sequence[float]] = []
        beside: list[Sequence[float]] = []
        drained_per_s: list[float] = []
        for _ in range(bench.repetitions):
            # One stack for each run: vendors still send the reports of an earlier run for minutes.
            async with bench.stack(catalog=batching("spike")) as running:
                await _run(running, kind, burst, seconds, alone, beside, drained_per_s)
            bench.say(
                f"  {kind.type}: p99 {percentile_of(alone[-1], 99):.0f} ms alone, "
                f"{percentile_of(beside[-1], 99):.0f} ms beside a burst at {drained_per_s[-1]:.0f}/s"
            )
        add_latencies(report, f"{kind.type}, alone", alone)
        add_latencies(report, f"{kind.type}, beside a burst", beside)
        report.add("burst", drained_per_s, "/s", group=f"{kind.type}, beside a burst")
        ratios = [p99_ratio(*each) for each in zip(beside, alone, strict=True)]
        report.add(f"p99 of {kind.type} beside a burst against alone", ratios, "×", at_most(RATIO_MAX))
    return report


async def _run(
    running: Running,
    kind: Kind,
    burst: int,
    seconds: float,
    alone: list[Sequence[float]],
    beside: list[Sequence[float]],
    drained_per_s: list[float],
) -> None:
    async with (
        Traffic(running) as quiet,
        Traffic(running, tenant="other", key=await _key(running)) as bursting,
    ):
        await running.instant_vendors()
        await quiet.one_by_one(kind, RATE_PER_S, WARM_S)
        await quiet.simulators.forget(kind.vendor)
        await quiet.one_by_one(kind, RATE_PER_S, seconds)
        await quiet.settled(kind, int(RATE_PER_S * seconds))
        alone.append([took for _, took in await quiet.stamped(kind.vendor)])
        await quiet.simulators.forget(kind.vendor)
        await bursting.accept(kind, burst)
        began = time.time()
        count = 0
        # Until the burst is over: its rate depends on the machine.
        while await quiet.simulators.count(kind.vendor) < burst + count and time.time() - began < BURST_S_MAX:
            await quiet.one_by_one(kind, RATE_PER_S, PART_S)
            count += int(RATE_PER_S * PART_S)
        await quiet.settled(kind, count)
        received = await bursting.received(kind.vendor)
        drained_by = received[-1]
        beside.append([took for at, took in await quiet.stamped(kind.vendor) if at < drained_by])
        drained_per_s.append(len([at for at in received if at > began]) / (drained_by - began))


async def _key(running: Running) -> str:
    connection = await asyncpg.connect(running.database_url)
    try:
        return await api_keys.create(connection, "other", "burst")
    finally:
        await connection.close()
