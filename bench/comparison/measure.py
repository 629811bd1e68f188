"""The topic `comparison`: the same work and the same faults for Herald and for each alternative."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import astuple, dataclass, field
from datetime import datetime
from functools import partial, reduce
from operator import add

from bench.comparison import subjects
from bench.comparison.shared_settings import IN_FLIGHT, PROCESSES, VENDOR, Notification
from bench.comparison.site import quiet
from bench.comparison.subjects import HERALD, Subject
from bench.comparison.systems import ALTERNATIVES, REDELIVER_S
from bench.harness import Bench, TookTooLong, batching
from bench.load import percentile
from bench.report import Report, at_least

KILL_AT = (0.10, 0.25, 0.40, 0.55, 0.70)
"""The workers are killed when the vendor has accepted these shares of the notifications."""
ANSWER_S = 0.1
"""While workers are killed, the vendor accepts immediately and answers this much later, so that every kill
hits sends in flight, in every system."""
AMBIGUOUS_SHARE = 0.05
QUIET_S_MAX = 240
DRAIN_S_MAX = 600
IN_BATCHES = "Herald, in batches"

_numbers = itertools.count()


@dataclass(frozen=True)
class Tally:
    """How often each of `of` notifications reached the vendor, after all work was finished.

    `extra`: messages beyond the first of each. `unrecorded`: messages at the vendor that the system has not
    recorded. `left`: work unfinished at the time limit. All of them, `seconds` too, add up over runs.
    """

    of: int
    missing: int
    once: int
    repeated: int
    extra: int
    unrecorded: int
    seconds: float
    left: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Measured:
    """The samples of one system."""

    name: str
    throughput: list[float] = field(default_factory=list[float])
    submitted: list[float] = field(default_factory=list[float])
    cpu_ms: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    latency_p50_ms: list[float] = field(default_factory=list[float])
    latency_p99_ms: list[float] = field(default_factory=list[float])
    killed: list[Tally] = field(default_factory=list[Tally])
    ambiguous: list[Tally] = field(default_factory=list[Tally])


async def measure(bench: Bench) -> Report:
    """Measure every system that can run. `--set only=dbos` selects by name, `--set size=…` sets the drain."""
    report = Report("comparison", "Herald and the alternatives, on the same six steps")
    sizes = {
        "drained": bench.option("size", bench.scaled(3000, 200)),
        "one_by_one": bench.scaled(200, 20),
        "with_kills": bench.scaled(1000, 150),
        "ambiguous": bench.scaled(1000, 100),
    }
    report.scale = {
        **sizes,
        "in_flight": IN_FLIGHT,
        "worker_processes": PROCESSES,
        "repetitions": bench.repetitions,
    }
    found: list[Measured] = []
    for name, missing, start in _systems(bench):
        if bench.options.get("only", "") not in name.lower():
            continue
        if missing:
            bench.say(f"{name}: {missing}")
            report.notes.append(f"{name}: {missing}")
            continue
        bench.say(f"{name} …")
        async with start() as subject:
            found.append(await _all_of(bench, subject, sizes))
    for one in found:
        _add(report, one)
    _against_queues(report, found)
    shares = ", ".join(f"{share:.0%}" for share in KILL_AT)
    report.notes += [
        f"Brokers wait {REDELIVER_S} s for a lost worker here; by default Celery waits an hour "
        "(visibility_timeout), and Dramatiq a minute (heartbeat_timeout) and then until its maintenance "
        "happens to run (maintenance_chance).",
        f"killed: SIGKILL to all worker processes when the vendor had accepted {shares} of all; it "
        f"answered {ANSWER_S * 1000:.0f} ms after it accepted.",
        f"ambiguous: {AMBIGUOUS_SHARE:.0%} of the calls were accepted and answered with HTTP 500.",
    ]
    return report


def _systems(
    bench: Bench,
) -> list[tuple[str, str | None, Callable[[], AbstractAsyncContextManager[Subject]]]]:
    def herald(
        name: str, kind: str, mode: str
    ) -> tuple[str, None, Callable[[], AbstractAsyncContextManager[Subject]]]:
        return name, None, lambda: subjects.herald(bench, name, kind, batching(mode, HERALD))

    return [
        herald("Herald, one workflow each", "single", "never"),
        herald(IN_BATCHES, "batched", "bulk"),
        *((one.name, one.missing(), partial(subjects.alternative, one)) for one in ALTERNATIVES),
    ]


async def _all_of(bench: Bench, subject: Subject, sizes: dict[str, int]) -> Measured:
    measured = Measured(subject.name)
    await subject.simulators.callbacks(VENDOR, mode="normal", delay_s=0)
    await drain(subject, max(50, sizes["drained"] // 10), Measured(""))
    for _ in range(bench.repetitions):
        await drain(subject, sizes["drained"], measured)
    bench.say(
        f"{subject.name}: {measured.throughput[-1]:.0f}/s, "
        f"{sum(measured.cpu_ms[-1].values()):.1f} ms CPU each"
    )
    for _ in range(bench.repetitions):
        took = sorted(await _one_by_one(subject, sizes["one_by_one"]))
        measured.latency_p50_ms.append(percentile(took, 50))
        measured.latency_p99_ms.append(percentile(took, 99))

    await subject.simulators.fault(VENDOR, "accept_then_stall", latency_s=ANSWER_S)
    for _ in range(bench.repetitions):
        measured.killed.append(await with_kills(subject, sizes["with_kills"]))
        bench.say(f"{subject.name}: killed: {measured.killed[-1]}")
    await subject.simulators.heal(VENDOR)

    await subject.simulators.fault(VENDOR, "malformed", status=500, rate=AMBIGUOUS_SHARE)
    for _ in range(bench.repetitions):
        measured.ambiguous.append(await _without_kills(subject, sizes["ambiguous"]))
        bench.say(f"{subject.name}: ambiguous: {measured.ambiguous[-1]}")
    await subject.simulators.heal(VENDOR)
    return measured


async def drain(subject: Subject, size: int, measured: Measured) -> None:
    """Submit `size` and wait until all work is finished; adds samples to `measured`."""
    await subject.simulators.forget(VENDOR)
    batch, before = _notifications(size), subject.cpu_s()
    began, ended = await subject.submit(batch)
    await _accepted(subject, size, DRAIN_S_MAX)
    received = [
        datetime.fromisoformat(message["received_at"]).timestamp()
        for message in await subject.simulators.messages(VENDOR)
    ]
    if await quiet(subject.outstanding, QUIET_S_MAX) is None:
        raise TookTooLong(f"{subject.name} had not finished {QUIET_S_MAX} s after its last send")
    after = subject.cpu_s()
    measured.throughput.append(size / (max(received) - began))
    measured.submitted.append(size / (ended - began))
    measured.cpu_ms.append({part: (after[part] - before[part]) * 1000 / size for part in after})


async def _one_by_one(subject: Subject, size: int) -> list[float]:
    """Milliseconds from submitting one to its arrival at the vendor, on an idle system."""
    took: list[float] = []
    for notification in _notifications(size):
        began, _ = await subject.submit([notification])
        messages = await _arrived(subject, notification)
        took.append((datetime.fromisoformat(messages[0]["received_at"]).timestamp() - began) * 1000)
        await asyncio.sleep(0.02)
    return took


async def with_kills(subject: Subject, size: int) -> Tally:
    """Submit `size`, and kill the workers at each share of KILL_AT."""
    await subject.simulators.forget(VENDOR)
    batch, started = _notifications(size), time.monotonic()
    submitting = asyncio.create_task(subject.submit(batch))
    for share in KILL_AT:
        await _accepted(subject, int(size * share), DRAIN_S_MAX, every_s=0.005)
        await subject.kill_workers()
    await submitting
    return await _tally(subject, batch, started)


async def _without_kills(subject: Subject, size: int) -> Tally:
    await subject.simulators.forget(VENDOR)
    batch, started = _notifications(size), time.monotonic()
    await subject.submit(batch)
    return await _tally(subject, batch, started)


async def _tally(subject: Subject, batch: Sequence[Notification], started: float) -> Tally:
    done = await quiet(subject.outstanding, QUIET_S_MAX)
    seconds = time.monotonic() - started
    left = 0 if done is not None else await subject.outstanding()
    messages = await subject.simulators.messages(VENDOR)
    recorded = await subject.recorded()
    received = Counter(message["to"] for message in messages)
    times = [received[notification["to"]] for notification in batch]
    return Tally(
        of=len(batch),
        missing=times.count(0),
        once=times.count(1),
        repeated=sum(1 for count in times if count > 1),
        extra=sum(count - 1 for count in times if count > 1),
        unrecorded=sum(1 for message in messages if message["id"] not in recorded),
        seconds=seconds,
        left=left,
    )


async def _accepted(subject: Subject, wanted: int, within_s: float, every_s: float = 0.05) -> None:
    started = time.monotonic()
    while (count := await subject.simulators.count(VENDOR)) < wanted:
        if time.monotonic() - started > within_s:
            raise TookTooLong(f"{subject.name}: {count} of {wanted} reached the vendor in {within_s:.0f} s")
        await asyncio.sleep(every_s)


async def _arrived(subject: Subject, notification: Notification) -> list[dict[str, str]]:
    async with asyncio.timeout(60):
        while True:
            if messages := await subject.simulators.messages(VENDOR, to=notification["to"]):
                return messages
            await asyncio.sleep(0.005)


def _notifications(size: int) -> list[Notification]:
    return [_notification(next(_numbers)) for _ in range(size)]


def _notification(number: int) -> Notification:
    return {
        "id": f"n-{number}",
        "user_id": f"user-{number % 10_000}",
        "to": f"+234803{number:07d}",
        "text": f"You paid 5,000.00 to Ada's shop (transaction {number}).",
    }


def _add(report: Report, measured: Measured) -> None:
    group = measured.name
    report.add("drained", measured.throughput, "notifications/s", group=group)
    report.add("submitted", measured.submitted, "notifications/s", group=group)
    report.add("submitted to vendor, idle, p50", measured.latency_p50_ms, "ms", group=group)
    report.add("submitted to vendor, idle, p99", measured.latency_p99_ms, "ms", group=group)
    totals = [sum(parts.values()) for parts in measured.cpu_ms]
    report.add("CPU", totals, "ms/notification", group=group)
    for part in sorted(measured.cpu_ms[0]):
        samples = [parts[part] for parts in measured.cpu_ms]
        report.add(f"CPU of {part}", samples, "ms/notification", group=group)
    for what, tallies in (("killed", measured.killed), ("ambiguous", measured.ambiguous)):
        tally = reduce(add, tallies)
        of = f"of {tally.of:,}"
        report.add(f"{what}: missing", tally.missing, of, group=group)
        report.add(f"{what}: exactly once", tally.once, of, group=group)
        report.add(f"{what}: repeated", tally.repeated, of, group=group, note=f"{tally.extra} extra messages")
        report.add(
            f"{what}: taken by the vendor, not in the records", tally.unrecorded, "messages", group=group
        )
        note = f"{tally.left} were unfinished" if tally.left else ""
        seconds = [one.seconds for one in tallies]
        report.add(f"{what}: until nothing was left", seconds, "s", group=group, note=note)


def _against_queues(report: Report, found: Sequence[Measured]) -> None:
    rates = {one.name: one.throughput for one in found}
    queues = [rates[name] for name in ("Celery", "Dramatiq") if name in rates]
    if queues and IN_BATCHES in rates:
        fastest = map(max, zip(*queues, strict=True))
        against = [one / other for one, other in zip(rates[IN_BATCHES], fastest, strict=True)]
        report.add("batches against the faster of Celery and Dramatiq", against, "×", at_least(1))
