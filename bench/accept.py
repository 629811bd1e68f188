"""Accepting: rate and latency, compared with two simpler endpoints."""

import json
from collections.abc import Mapping
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
IDLE = "nothing else running"
COROUTINE, THREAD = "Celery's .delay() in a coroutine", "Celery's .delay() in a thread"
TARGETS = {"single": at_least(2000), "batches of 1,000": at_least(15_000)}

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
    """The samples of one endpoint."""

    per_s: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    postgres_cpu_ms: list[float] = field(default_factory=list[float])
    p50_ms: list[float] = field(default_factory=list[float])
    p99_ms: list[float] = field(default_factory=list[float])

    def add(self, result: Result, items: int, cpu_s: float, postgres_cpu_s: float) -> None:
        accepted = result.answered * items
        self.per_s.append(accepted / result.seconds)
        self.cpu_ms.append(cpu_s * 1000 / accepted)
        self.postgres_cpu_ms.append(postgres_cpu_s * 1000 / accepted)
        self.p50_ms.append(result.percentile_ms(50))
        self.p99_ms.append(result.percentile_ms(99))

    def add_to(self, report: Report, name: str, target: Target | None = None) -> None:
        group = f"closed loop, {name}"
        report.add("accepted", self.per_s, "/s", target, group=group)
        report.add("server CPU each", self.cpu_ms, "ms", group=group)
        report.add("Postgres CPU each", self.postgres_cpu_ms, "ms", group=group)
        report.add("p50 of a request", self.p50_ms, "ms", group=group)
        report.add("p99 of a request", self.p99_ms, "ms", group=group)


async def measure(bench: Bench) -> Report:
    """Closed loop in turns with two other endpoints, then open loop; then with Temporal stopped, and busy."""
    report = Report("accept", "Accepting notifications")
    seconds = bench.option("seconds", bench.scaled(8, 2, essential=10))
    report.scale = {"seconds": seconds, "connections": CONNECTIONS, "batch": BATCH}
    async with AsyncExitStack() as exits:
        running = await exits.enter_async_context(bench.stack())
        # Nothing is delivered, so that the first figures are those of the accept path alone.
        await running.stack.stop("worker", "worker_critical")
        measured = _Accept(bench, running, seconds)
        if bench.essential:
            await measured.closed_loop(report)
            return report
        given = {
            "HERALD_TEMPORAL__ADDRESS": running.temporal_address,
            "HERALD_VALKEY_URL": running.valkey_url,
        }
        logs = running.stack.logs
        direct = await exits.enter_async_context(served("bench.endpoints.direct", logs, given))
        queued = await exits.enter_async_context(served("bench.endpoints.queued", logs, given))
        await measured.closed_loop(report, direct, queued)
        await measured.open_loop(report, IDLE)
        await running.stack.stop("temporal")
        await measured.closed_loop_while(report, "Temporal stopped")
        await measured.open_loop(report, "Temporal stopped")
        await running.stack.resume("temporal")
        await running.stack.resume("worker")
        await running.until("the drain runs", measured.draining, 60)
        await measured.closed_loop_while(report, "while a backlog drains")
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
        """Whether the worker has begun to send."""
        return bool(await self._running.value("SELECT EXISTS (SELECT FROM notification_attempts)"))

    async def closed_loop(
        self, report: Report, direct: Server | None = None, queued: Server | None = None
    ) -> None:
        """The closed loop over Herald's endpoints, and over the others if they are given, in turns."""
        endpoints = self._endpoints()
        if direct and queued:
            endpoints |= {
                "starting the workflow directly": (f"{direct.url}/notifications", direct.pid, 1),
                COROUTINE: (f"{queued.url}/coroutine", queued.pid, 1),
                THREAD: (f"{queued.url}/thread", queued.pid, 1),
            }
        measured = {name: _Samples() for name in endpoints}
        for name, (url, pid, items) in endpoints.items():
            await self._closed(url, pid, items, min(self._seconds, 2), _Samples())
            self._bench.say(f"  {name}: warm")
        for _ in range(self._bench.repetitions):
            for name, (url, pid, items) in endpoints.items():
                await self._closed(url, pid, items, self._seconds, measured[name])
                self._bench.say(f"  {name}: {measured[name].per_s[-1]:,.0f}/s")
        for name, samples in measured.items():
            samples.add_to(report, name, TARGETS.get(name))
        if direct and queued:
            _add_ratios(report, measured)

    async def closed_loop_while(self, report: Report, when: str) -> None:
        """The closed loop over Herald's endpoints under a condition."""
        for name, (url, pid, items) in self._endpoints().items():
            samples = _Samples()
            for _ in range(self._bench.repetitions):
                await self._closed(url, pid, items, self._seconds, samples)
            self._bench.say(f"  {name}, {when}: {samples.per_s[-1]:,.0f}/s")
            samples.add_to(report, f"{name}, {when}")

    def _endpoints(self) -> dict[str, tuple[str, int, int]]:
        """Herald's two: their URL, the server's process id, and the notifications per request."""
        api = self._running.pid("api")
        return {
            "single": (f"{self._url}/v1/notifications", api, 1),
            "batches of 1,000": (f"{self._url}/v1/notifications/batch", api, BATCH),
        }

    async def open_loop(self, report: Report, when: str) -> None:
        """Singles and batches at a constant rate."""
        target = at_most(50) if when == IDLE else None
        await self._at_a_rate(report, f"{RATE_PER_S} a second, {when}", RATE_PER_S, 1, target)
        batches = f"{OPEN_BATCHES_PER_S} batches of {OPEN_BATCH} a second, {when}"
        await self._at_a_rate(report, batches, OPEN_BATCHES_PER_S, OPEN_BATCH, None)

    async def _at_a_rate(
        self, report: Report, what: str, rate_per_s: int, items: int, p99: Target | None
    ) -> None:
        url = f"{self._url}/v1/notifications{'' if items == 1 else '/batch'}"
        seconds = max(5, int(self._seconds))
        loops: list[OpenLoop] = []
        for _ in range(self._bench.repetitions):
            self._runs += 1
            loops.append(
                await open_loop(url, self._headers, BODY, f"k{self._runs}-", rate_per_s, seconds, items)
            )
            self._bench.say(f"  open loop, {what}: p99 {loops[-1].p99_ms:.1f} ms")
        group = f"open loop, {what}"
        report.add("p50", [one.p50_ms for one in loops], "ms", group=group)
        report.add("p99", [one.p99_ms for one in loops], "ms", p99, group=group)
        report.add("sustained", [one.per_s * items for one in loops], "/s", group=group)
        lost = [one.failed_share * 100 + one.dropped for one in loops]
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


def _add_ratios(report: Report, measured: Mapping[str, _Samples]) -> None:
    single, starts = measured["single"], measured["starting the workflow directly"]
    rates = [ours / theirs for ours, theirs in zip(single.per_s, starts.per_s, strict=True)]
    report.add("accepts/s against starting the workflow", rates, "×", at_least(20), group="ratio")
    celery = map(min, zip(measured[COROUTINE].cpu_ms, measured[THREAD].cpu_ms, strict=True))
    report.add(
        "server CPU per request against Celery's .delay()",
        [ours / theirs for ours, theirs in zip(single.cpu_ms, celery, strict=True)],
        "×",
        at_most(1),
        group="ratio",
        note="the endpoint's process alone; the cheaper of coroutine and thread",
    )
