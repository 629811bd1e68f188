"""Memory: the resident size of the workers and the API over 200,000 notifications."""

from collections.abc import Sequence
from statistics import linear_regression

from bench.harness import Bench, Running, batching
from bench.report import Report, Series, at_most
from bench.traffic import Traffic, sms

PARTS = ("worker", "worker_critical", "api", "callbacks")
VOLUME, CRITICAL = sms("marketing"), sms("otp")
STEPS = 20
CRITICAL_PER_S, CRITICAL_S = 20, 5.0
DRAIN_S_MAX = 300.0
CACHED_WORKFLOWS = 1000
"""The SDK's own default."""
WARM_SHARE = 0.1
"""The first notifications fill pools and caches: growth counts from here."""
PER = 100_000

Samples = dict[str, list[tuple[float, float]]]
"""For each part: how many notifications had passed, and its size in MiB."""


async def measure(bench: Bench) -> Report:
    """Volume in batches, one-time passwords at the same time, receipts for all; a sample after each step."""
    report = Report("memory", "Memory, over many notifications")
    size = bench.option("size", bench.scaled(200_000, 2000))
    step = size // STEPS
    cached = bench.scaled(CACHED_WORKFLOWS, 50)
    report.scale = {"notifications": size, "sampled_each": step}
    runs = [await _run(bench, step, cached) for _ in range(bench.repetitions)]
    _report(report, runs, size)
    return report


async def _run(bench: Bench, step: int, cached: int) -> Samples:
    samples: Samples = {part: [] for part in PARTS}
    async with bench.stack(catalog=batching("bulk")) as running, Traffic(running) as traffic:
        await running.instant_vendors()
        await traffic.add_users(step * STEPS + cached)
        # Fill the worker's workflow cache first, so that it does not count as growth.
        await traffic.drain(CRITICAL, cached, DRAIN_S_MAX)
        for number in range(1, STEPS + 1):
            await traffic.drain(VOLUME, step, DRAIN_S_MAX)
            await traffic.one_by_one(CRITICAL, CRITICAL_PER_S, CRITICAL_S)
            await traffic.quiet(DRAIN_S_MAX)
            _sample(bench, running, samples, number * step)
    return samples


def _sample(bench: Bench, running: Running, samples: Samples, passed: int) -> None:
    for part, points in samples.items():
        points.append((float(passed), running.resident_mb(part)))
    sizes = ", ".join(f"{part} {points[-1][1]:.1f} MiB" for part, points in samples.items())
    bench.say(f"  {passed:,}: {sizes}")


def _report(report: Report, runs: Sequence[Samples], size: int) -> None:
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
        f"In every step {CRITICAL_PER_S * CRITICAL_S:.0f} one-time passwords went through the critical "
        "worker. Growth is the slope of a line through all samples after the first tenth."
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """MiB per notification, by least squares."""
    return linear_regression([x for x, _ in points], [y for _, y in points]).slope
