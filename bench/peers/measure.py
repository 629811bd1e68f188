"""The topic `peers`: the same work and the same faults for Herald and for each alternative."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import astuple, dataclass, field
from datetime import datetime
from functools import reduce
from operator import add

from bench.harness import Bench, TookTooLong
from bench.load import percentile
from bench.peers import subjects
from bench.peers.site import quiet
from bench.peers.subjects import HERALD, Subject
from bench.peers.systems import PEERS, REDELIVER_S, Peer
from bench.peers.terms import IN_FLIGHT, PROCESSES, VENDOR, Notification
from bench.report import Report, at_least

KILL_AT = (0.10, 0.25, 0.40, 0.55, 0.70)
"""The workers are killed when the vendor has accepted these shares of all."""
ANSWER_S = 0.1
"""While workers are killed, the vendor accepts at once and answers this much later, as a real one may: so
that every kill meets sends under way, whatever the system."""
AMBIGUOUS_SHARE = 0.05
QUIET_S_MAX = 240
DRAIN_S_MAX = 600

_numbers = itertools.count()


@dataclass(frozen=True)
class Tally:
    """How often each of `of` notifications reached the vendor, once nothing was left to do.

    `extra`: messages beyond the first of each. `unrecorded`: messages that the vendor took and the system's
    own records do not name. `left`: what was still to be done when the bound ended the waiting. They add up
    over several runs, `seconds` too.
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
class Found:
    """What one system did."""

    name: str
    throughput: list[float] = field(default_factory=list[float])
    submitted: list[float] = field(default_factory=list[float])
    cpu_ms: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    latency_p50_ms: list[float] = field(default_factory=list[float])
    latency_p99_ms: list[float] = field(default_factory=list[float])
    killed: list[Tally] = field(default_factory=list[Tally])
    ambiguous: list[Tally] = field(default_factory=list[Tally])


async def measure(bench: Bench) -> Report:
    """Measure every system that is here. `--set only=dbos` names one, `--set size=…` the drained."""
    report = Report("peers", "Herald and the alternatives, on the same six steps")
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
    found: list[Found] = []
    for name, wanted, start in _systems(bench):
        if bench.options.get("only", "") not in name.lower():
            continue
        if wanted:
            bench.say(f"{name}: {wanted}")
            report.notes.append(f"{name}: {wanted}")
            continue
        bench.say(f"{name} …")
        async with start() as subject:
            found.append(await _all_of(bench, subject, sizes))
    for one in found:
        _tell(report, one)
    _against_queues(report, found)
    shares = ", ".join(f"{share:.0%}" for share in KILL_AT)
    report.notes += [
        f"Brokers wait {REDELIVER_S} s here for a worker that is gone; by default Celery an hour "
        "(visibility_timeout) and Dramatiq a minute (heartbeat_timeout), and then until its maintenance "
        "happens to run (maintenance_chance).",
        f"killed: SIGKILL to all worker processes when the vendor had accepted {shares} of all; it answered "
        f"{ANSWER_S * 1000:.0f} ms after it accepted.",
        f"ambiguous: {AMBIGUOUS_SHARE:.0%} of the calls were accepted and answered with HTTP 500.",
    ]
    return report


def _systems(
    bench: Bench,
) -> list[tuple[str, str | None, Callable[[], AbstractAsyncContextManager[Subject]]]]:
    def peer(one: Peer) -> Callable[[], AbstractAsyncContextManager[Subject]]:
        return lambda: subjects.alternative(one)

    each, paged = 'paging = "never"\n', 'paging = "bulk"\n'
    never = None if subjects.pages_exist() else "not in this revision"
    return [
        (
            "Herald, a workflow each",
            None,
            lambda: subjects.herald(bench, "Herald, a workflow each", "single", HERALD + each),
        ),
        (
            "Herald, by pages",
            never,
            lambda: subjects.herald(bench, "Herald, by pages", "paged", HERALD + paged),
        ),
        *((one.name, one.wanted(), peer(one)) for one in PEERS),
    ]


async def _all_of(bench: Bench, subject: Subject, sizes: dict[str, int]) -> Found:
    found = Found(subject.name)
    await subject.simulators.callbacks(VENDOR, mode="normal", delay_s=0)
    await drain(subject, max(50, sizes["drained"] // 10), Found(""))
    for _ in range(bench.repetitions):
        await drain(subject, sizes["drained"], found)
    bench.say(
        f"{subject.name}: {found.throughput[-1]:.0f}/s, {sum(found.cpu_ms[-1].values()):.1f} ms CPU each"
    )
    for _ in range(bench.repetitions):
        took = sorted(await _one_by_one(subject, sizes["one_by_one"]))
        found.latency_p50_ms.append(percentile(took, 50))
        found.latency_p99_ms.append(percentile(took, 99))

    await subject.simulators.fault(VENDOR, "accept_then_stall", latency_s=ANSWER_S)
    for _ in range(bench.repetitions):
        found.killed.append(await with_kills(subject, sizes["with_kills"]))
        bench.say(f"{subject.name}: killed: {found.killed[-1]}")
    await subject.simulators.heal(VENDOR)

    await subject.simulators.fault(VENDOR, "malformed", status=500, rate=AMBIGUOUS_SHARE)
    for _ in range(bench.repetitions):
        found.ambiguous.append(await _without_kills(subject, sizes["ambiguous"]))
        bench.say(f"{subject.name}: ambiguous: {found.ambiguous[-1]}")
    await subject.simulators.heal(VENDOR)
    return found


async def drain(subject: Subject, size: int, found: Found) -> None:
    """Hand over so many and wait until nothing is left; adds to the figures of `found`."""
    await subject.simulators.forget(VENDOR)
    batch, before = _notifications(size), subject.cpu_s()
    began, ended = await subject.submit(batch)
    await _accepted(subject, size, DRAIN_S_MAX)
    received = [
        datetime.fromisoformat(message["received_at"]).timestamp()
        for message in await subject.simulators.messages(VENDOR)
    ]
    if await quiet(subject.outstanding, QUIET_S_MAX) is None:
        raise TookTooLong(f"{subject.name} was not done {QUIET_S_MAX} s after its last send")
    after = subject.cpu_s()
    found.throughput.append(size / (max(received) - began))
    found.submitted.append(size / (ended - began))
    found.cpu_ms.append({part: (after[part] - before[part]) * 1000 / size for part in after})


async def _one_by_one(subject: Subject, size: int) -> list[float]:
    """Milliseconds from handing one over to its arrival at the vendor, with nothing else to do."""
    took: list[float] = []
    for notification in _notifications(size):
        began, _ = await subject.submit([notification])
        messages = await _arrived(subject, notification)
        took.append((datetime.fromisoformat(messages[0]["received_at"]).timestamp() - began) * 1000)
        await asyncio.sleep(0.02)
    return took


async def with_kills(subject: Subject, size: int) -> Tally:
    """Hand over so many, and kill the workers at each share of KILL_AT."""
    await subject.simulators.forget(VENDOR)
    batch, started = _notifications(size), time.monotonic()
    handing_over = asyncio.create_task(subject.submit(batch))
    for share in KILL_AT:
        await _accepted(subject, int(size * share), DRAIN_S_MAX, every_s=0.005)
        await subject.kill_workers()
    await handing_over
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


def _tell(report: Report, found: Found) -> None:
    group = found.name
    report.add("drained", found.throughput, "notifications/s", group=group)
    report.add("handed over", found.submitted, "notifications/s", group=group)
    report.add("handed over to vendor, idle, p50", found.latency_p50_ms, "ms", group=group)
    report.add("handed over to vendor, idle, p99", found.latency_p99_ms, "ms", group=group)
    totals = [sum(parts.values()) for parts in found.cpu_ms]
    report.add("CPU", totals, "ms/notification", group=group)
    for part in sorted(found.cpu_ms[0]):
        samples = [parts[part] for parts in found.cpu_ms]
        report.add(f"CPU of {part}", samples, "ms/notification", group=group)
    for what, tallies in (("killed", found.killed), ("ambiguous", found.ambiguous)):
        tally = reduce(add, tallies)
        of = f"of {tally.of}"
        report.add(f"{what}: missing", tally.missing, of, group=group)
        report.add(f"{what}: exactly once", tally.once, of, group=group)
        report.add(f"{what}: repeated", tally.repeated, of, group=group, note=f"{tally.extra} extra messages")
        report.add(
            f"{what}: taken by the vendor, not in the records", tally.unrecorded, "messages", group=group
        )
        note = f"{tally.left} were still to be done" if tally.left else ""
        seconds = [one.seconds for one in tallies]
        report.add(f"{what}: until nothing was left", seconds, "s", group=group, note=note)


def _against_queues(report: Report, found: Sequence[Found]) -> None:
    rates = {one.name: one.throughput for one in found}
    queues = [rates[name] for name in ("Celery", "Dramatiq") if name in rates]
    if queues and "Herald, by pages" in rates:
        fastest = map(max, zip(*queues, strict=True))
        against = [one / other for one, other in zip(rates["Herald, by pages"], fastest, strict=True)]
        report.add("pages against the faster of Celery and Dramatiq", against, "×", at_least(1))
