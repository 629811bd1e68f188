"""Accepting: how many a second, how fast, and against an endpoint that does less or does it elsewhere."""

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench import load
from bench.counters import cpu_seconds
from bench.harness import Bench, Running
from bench.k6 import OpenLoop, open_loop
from bench.load import NUMBER, Load, Result
from bench.report import Report, Target, at_least, at_most
from bench.servers import Server, served

CONNECTIONS = 32
BATCH = 1000
BATCH_CONNECTIONS = 2
RATE_PER_S = 500
OPEN_BATCH = 100
OPEN_BATCHES_PER_S = 50

BODY = json.dumps(
    {
        "user_id": f"user-{NUMBER}",
        "type": "alert",
        "channels": ["sms"],
        "content": {"body": "You paid 5,000.00 to Ada's Kitchen. Balance: 12,345.67."},
        "to": {"sms": "+2348031236789"},
        "idempotency_key": NUMBER,
    },
    separators=(",", ":"),
)


@dataclass(slots=True)
class _Samples:
    """What the repetitions of one way of accepting came to."""

    per_s: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    postgres_cpu_ms: list[float] = field(default_factory=list[float])
    p50_ms: list[float] = field(default_factory=list[float])
    p99_ms: list[float] = field(default_factory=list[float])

    def add(self, result: Result, items: int, cpu_s: float, postgres_cpu_s: float) -> None:
        taken = result.answered * items
        self.per_s.append(taken / result.seconds)
        self.cpu_ms.append(cpu_s * 1000 / taken)
        self.postgres_cpu_ms.append(postgres_cpu_s * 1000 / taken)
        self.p50_ms.append(result.percentile_ms(50))
        self.p99_ms.append(result.percentile_ms(99))


async def measure(bench: Bench) -> Report:
    """Closed loop against the two other endpoints, batches, an open loop, and with Temporal away or busy."""
    report = Report("accept", "Accepting notifications")
    seconds = bench.option("seconds", bench.scaled(8, 2))
    report.scale = {"seconds": seconds, "connections": CONNECTIONS, "batch": BATCH}
    async with AsyncExitStack() as open:
        running = await open.enter_async_context(bench.stack())
        # What is accepted waits: the first figures are the accept path's own.
        await running.stack.stop("worker", "worker_critical")
        measured = _Accept(bench, running, seconds)
        given = {
            "HERALD_TEMPORAL__ADDRESS": running.temporal_address,
            "HERALD_VALKEY_URL": running.valkey_url,
        }
        logs = running.stack.logs
        direct = await open.enter_async_context(served("bench.endpoints.direct", logs, given))
        queued = await open.enter_async_context(served("bench.endpoints.queued", logs, given))
        await measured.side_by_side(report, direct, queued)
        await measured.open_loop(report, "nothing else running")
        await running.stack.stop("temporal")
        await measured.alone(report, "Temporal stopped")
        await measured.open_loop(report, "Temporal stopped")
        await running.stack.resume("temporal")
        await running.stack.resume("worker")
        await running.until("the drain runs", measured.draining, 60)
        await measured.alone(report, "while a backlog drains")
        await measured.open_loop(report, "while a backlog drains")
    return report


class _Accept:
    def __init__(self, bench: Bench, running: Running, seconds: float) -> None:
        self._bench = bench
        self._running = running
        self._seconds = seconds
        self._runs = 0
        self._url = running.stack.api_url
        self._headers = {
            "Authorization": f"Bearer {running.stack.api_key}",
            "Content-Type": "application/json",
        }

    async def draining(self) -> bool:
        """Whether the worker sends."""
        return bool(await self._running.value("SELECT EXISTS (SELECT FROM notification_attempts)"))

    async def side_by_side(self, report: Report, direct: Server, queued: Server) -> None:
        """The closed loop over every endpoint, in turns."""
        api = self._running.pid("api")
        ways = {
            "single": (f"{self._url}/v1/notifications", api, 1),
            "batches of 1,000": (f"{self._url}/v1/notifications/batch", api, BATCH),
            "starting the workflow directly": (f"{direct.url}/notifications", direct.pid, 1),
            "Celery's .delay() in a coroutine": (f"{queued.url}/coroutine", queued.pid, 1),
            "Celery's .delay() in a thread": (f"{queued.url}/thread", queued.pid, 1),
        }
        taken = {name: _Samples() for name in ways}
        for name, (url, pid, items) in ways.items():
            await self._closed(url, pid, items, min(self._seconds, 2), _Samples())
            self._bench.say(f"  {name}: warm")
        for _ in range(self._bench.repetitions):
            for name, (url, pid, items) in ways.items():
                await self._closed(url, pid, items, self._seconds, taken[name])
                self._bench.say(f"  {name}: {taken[name].per_s[-1]:,.0f}/s")
        targets = {"single": at_least(2000), "batches of 1,000": at_least(15_000)}
        for name, samples in taken.items():
            _tell(report, name, samples, targets.get(name))
        single = taken["single"]
        celery = [
            min(a, b)
            for a, b in zip(
                taken["Celery's .delay() in a coroutine"].cpu_ms,
                taken["Celery's .delay() in a thread"].cpu_ms,
                strict=True,
            )
        ]
        starts = taken["starting the workflow directly"].per_s
        against = [ours / theirs for ours, theirs in zip(single.per_s, starts, strict=True)]
        report.add("accepts/s against starting the workflow", against, "×", at_least(20), group="ratio")
        costs = [ours / theirs for ours, theirs in zip(single.cpu_ms, celery, strict=True)]
        report.add(
            "server CPU per request against Celery's .delay()",
            costs,
            "×",
            at_most(1),
            group="ratio",
            note="the endpoint's process alone; the cheaper of the coroutine and the thread",
        )

    async def alone(self, report: Report, when: str) -> None:
        """Singles and batches in a closed loop."""
        api = self._running.pid("api")
        for name, path, items, target in (
            ("single", "", 1, None),
            ("batches of 1,000", "/batch", BATCH, None),
        ):
            samples = _Samples()
            for _ in range(self._bench.repetitions):
                await self._closed(f"{self._url}/v1/notifications{path}", api, items, self._seconds, samples)
            self._bench.say(f"  {name}, {when}: {samples.per_s[-1]:,.0f}/s")
            _tell(report, f"{name}, {when}", samples, target)

    async def open_loop(self, report: Report, when: str) -> None:
        """Singles and batches at a constant rate."""
        target = at_most(50) if when == "nothing else running" else None
        await self._at_a_rate(report, f"{RATE_PER_S} a second, {when}", RATE_PER_S, 1, target)
        batches = f"{OPEN_BATCHES_PER_S} batches of {OPEN_BATCH} a second, {when}"
        await self._at_a_rate(report, batches, OPEN_BATCHES_PER_S, OPEN_BATCH, None)

    async def _at_a_rate(
        self, report: Report, what: str, rate_per_s: int, items: int, p99: Target | None
    ) -> None:
        url = f"{self._url}/v1/notifications{'' if items == 1 else '/batch'}"
        seconds = max(5, int(self._seconds))
        taken: list[OpenLoop] = []
        for _ in range(self._bench.repetitions):
            self._runs += 1
            taken.append(
                await open_loop(url, self._headers, BODY, f"k{self._runs}-", rate_per_s, seconds, items)
            )
            self._bench.say(f"  open loop, {what}: p99 {taken[-1].p99_ms:.1f} ms")
        group = f"open loop, {what}"
        report.add("p50", [one.p50_ms for one in taken], "ms", group=group)
        report.add("p99", [one.p99_ms for one in taken], "ms", p99, group=group)
        report.add("sustained", [one.per_s * items for one in taken], "/s", group=group)
        lost = [one.failed_share * 100 + one.dropped for one in taken]
        report.add("failed (%) or not sent in time", lost, "", at_most(0), group=group)

    async def _closed(self, url: str, pid: int, items: int, seconds: float, samples: _Samples) -> None:
        self._runs += 1
        asked = Load(
            url=url,
            headers=self._headers,
            body=BODY,
            prefix=f"r{self._runs}-",
            connections=CONNECTIONS if items == 1 else BATCH_CONNECTIONS,
            seconds=seconds,
            items=items,
        )
        postgres = self._running.pid("postgres")
        cpu_s, postgres_cpu_s = cpu_seconds(pid), cpu_seconds(postgres)
        result = await load.run(asked)
        samples.add(result, items, cpu_seconds(pid) - cpu_s, cpu_seconds(postgres) - postgres_cpu_s)


def _tell(report: Report, name: str, samples: _Samples, target: Target | None = None) -> None:
    group = f"closed loop, {name}"
    report.add("accepted", samples.per_s, "/s", target, group=group)
    report.add("server CPU each", samples.cpu_ms, "ms", group=group)
    report.add("Postgres CPU each", samples.postgres_cpu_ms, "ms", group=group)
    report.add("p50 of a request", samples.p50_ms, "ms", group=group)
    report.add("p99 of a request", samples.p99_ms, "ms", group=group)
