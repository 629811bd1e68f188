"""Memory: the resident size of the workers and the API over 200,000 notifications, sampled as they pass."""

from collections.abc import Sequence
from statistics import linear_regression

from bench.flow import Flow, sms
from bench.harness import Bench, Running, paging
from bench.peers.subjects import pages_exist
from bench.report import Report, Series, at_most

PARTS = ("worker", "worker_critical", "api", "callbacks")
VOLUME, CRITICAL = sms("marketing"), sms("otp")
STEPS = 20
CRITICAL_PER_S, CRITICAL_S = 20, 5.0
DRAIN_S_MAX = 300.0
CACHED_WORKFLOWS = 1000
"""The SDK's own default."""
WARM_SHARE = 0.1
"""Pools, caches and code are taken up by the first ones: growth counts from here."""
PER = 100_000

Samples = dict[str, list[tuple[float, float]]]
"""Of each part: how many notifications had passed, and its size in MiB."""


async def measure(bench: Bench) -> Report:
    """Volume by pages, one-time passwords beside it, receipts for all; a sample after each step."""
    report = Report("memory", "Memory, over many notifications")
    there = pages_exist()
    size = bench.option("size", bench.scaled(200_000, 2000) if there else bench.scaled(5000, 400))
    step = size // STEPS
    cached = bench.scaled(CACHED_WORKFLOWS, 50)
    report.scale = {
        "notifications": size,
        "sampled_each": step,
        "by": "pages" if there else "a workflow each",
    }
    runs = [await _run(bench, step, cached, paged=there) for _ in range(bench.repetitions)]
    _tell(report, runs, size)
    return report


async def _run(bench: Bench, step: int, cached: int, *, paged: bool) -> Samples:
    samples: Samples = {part: [] for part in PARTS}
    async with bench.stack(catalog=paging("bulk" if paged else "never")) as running, Flow(running) as flow:
        await running.instant_vendors()
        await flow.people(step * STEPS + cached)
        # A worker keeps as many workflows in memory: what they take is no growth.
        await flow.drain(CRITICAL, cached, DRAIN_S_MAX)
        for number in range(1, STEPS + 1):
            await flow.drain(VOLUME, step, DRAIN_S_MAX)
            await flow.one_by_one(CRITICAL, CRITICAL_PER_S, CRITICAL_S)
            await flow.quiet(DRAIN_S_MAX)
            _sample(bench, running, samples, number * step)
    return samples


def _sample(bench: Bench, running: Running, samples: Samples, passed: int) -> None:
    for part, points in samples.items():
        points.append((float(passed), running.resident_mb(part)))
    told = ", ".join(f"{part} {points[-1][1]:.1f} MiB" for part, points in samples.items())
    bench.say(f"  {passed:,}: {told}")


def _tell(report: Report, runs: Sequence[Samples], size: int) -> None:
    for part in PARTS:
        warm = [[point for point in run[part] if point[0] >= size * WARM_SHARE] for run in runs]
        report.add(f"after {warm[0][0][0]:,.0f}", [points[0][1] for points in warm], "MiB", group=part)
        report.add(f"after {size:,}", [points[-1][1] for points in warm], "MiB", group=part)
        slopes = [_slope(points) * PER for points in warm]
        report.add(f"growth per {PER:,}", slopes, "MiB", at_most(5), group=part)
    report.series += [
        Series(f"resident size, run {number}", "notifications", "MiB", run)
        for number, run in enumerate(runs, 1)
    ]
    report.notes.append(
        f"With every step {CRITICAL_PER_S * CRITICAL_S:.0f} one-time passwords went through the "
        "critical worker. Growth is the slope of a line through all samples from the first tenth on."
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """MiB for each notification, by least squares."""
    return linear_regression([x for x, _ in points], [y for _, y in points]).slope
