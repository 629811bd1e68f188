"""A cheap HTTP load generator in its own process. Reads a `Load` as JSON from standard input.

It writes requests as bytes and reads only the status and length of answers, because it shares the machine
with what it measures. Closed loop: each connection sends its next request when the last was answered. Open
loop: requests are sent on schedule, and latency counts from the scheduled time, so that queueing shows
(no coordinated omission).
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.child import output_of_module

SENT_AT = "@sent_at@"
NUMBER = "@number@"
GIVE_UP_S = 30.0
"""How long answers may take after the last request was sent."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. In each request's `body`, NUMBER is replaced by `prefix` and a running number that starts
    at `first`, and SENT_AT by the scheduled time (seconds since the epoch).

    `rate_per_s`: open loop at this rate; None: closed loop over `connections`. The load ends after
    `seconds`, or after `requests` if that comes first. `items`: how many times each request repeats the
    body, as the `notifications` of one batch.
    """

    url: str
    headers: dict[str, str]
    body: str
    prefix: str
    connections: int
    seconds: float
    rate_per_s: float | None = None
    requests: int | None = None
    items: int = 1
    first: int = 1


@dataclass(slots=True)
class Result:
    """The outcome. Latencies are in milliseconds, of every answer, sorted.

    `began` is when the first request was sent, in seconds since the epoch.
    """

    seconds: float = 0.0
    answered: int = 0
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    latencies_ms: list[float] = field(default_factory=list[float])
    client_cpu_s: float = 0.0
    began: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The latency that `percent` of the answers did not exceed (nearest rank)."""
        return percentile(self.latencies_ms, percent)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that `percent` of the sorted values do not exceed (nearest rank)."""
    return ordered[max(0, -(-int(len(ordered) * percent * 100) // 10_000) - 1)]


async def run(load: Load) -> Result:
    """Run a load in its own process. Raises RuntimeError when it fails, or when an answer was not 2xx."""
    output = await output_of_module(
        "bench.load", json.dumps(asdict(load)), within_s=load.seconds + 2 * GIVE_UP_S
    )
    result = Result(**json.loads(output))
    if refused := {status: n for status, n in result.statuses.items() if not status.startswith("2")}:
        raise RuntimeError(f"{load.url} refused requests: {refused}")
    return result


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._buffer = b""
        self._missing = -1
        self._status = ""
        self._since = 0.0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: bytes, since: float) -> None:
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._missing < 0:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self._status = head[9:12].decode()
            at = head.lower().index(b"content-length:") + len(b"content-length:")
            self._missing = int(head[at : at + 20].split(b"\r\n")[0])
            self._buffer = rest
        if len(self._buffer) >= self._missing:
            self._buffer, self._missing = b"", -1
            self._generator.answered(self, self._status, self._since)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.lost(self)

    def close(self) -> None:
        self._transport.close()


class _Generator:
    def __init__(self, load: Load) -> None:
        self.load = load
        parts = urlsplit(load.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        lines = [f"{name}: {value}" for name, value in load.headers.items()]
        self._head = "\r\n".join([f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *lines])
        self._number = load.first - 1
        self._sent = 0
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._ends_at = 0.0
        self._sending = True
        self._all_answered = asyncio.Event()
        self._statuses = Counter[str]()
        self._latencies: list[float] = []
        self._last = 0.0

    async def run(self) -> Result:
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: _Connection(self), self._host, self._port))[1]
            for _ in range(self.load.connections)
        ]
        cpu, began, started = time.process_time(), time.time(), time.perf_counter()
        self._ends_at = started + self.load.seconds
        if self.load.rate_per_s is None:
            for connection in connections:
                self._next(connection)
        else:
            self._idle.extend(connections)
            await self._on_time(started, self.load.rate_per_s)
        async with asyncio.timeout(self.load.seconds + GIVE_UP_S):
            await self._all_answered.wait()
        for connection in connections:
            connection.close()
        return Result(
            self._last - started,
            len(self._latencies),
            dict(self._statuses),
            sorted(self._latencies),
            time.process_time() - cpu,
            began,
        )

    async def _on_time(self, started: float, rate_per_s: float) -> None:
        total = int(self.load.seconds * rate_per_s)
        for place in range(total):
            due = started + place / rate_per_s
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            self._waiting.append(due)
            self._send_waiting()
        self._sending = False
        self._check_end()

    def _send_waiting(self) -> None:
        while self._waiting and self._idle:
            self._send(self._idle.popleft(), self._waiting.popleft())

    def _next(self, connection: _Connection) -> None:
        enough = self.load.requests is not None and self._sent >= self.load.requests
        if enough or time.perf_counter() >= self._ends_at:
            self._sending = False
            self._check_end()
            return
        self._send(connection, None)

    def _send(self, connection: _Connection, since: float | None) -> None:
        due = time.perf_counter() if since is None else since
        request = self._request(due)
        self._sent += 1
        connection.send(request, due)

    def _request(self, due: float) -> bytes:
        bodies: list[str] = []
        for _ in range(self.load.items):
            self._number += 1
            bodies.append(self.load.body.replace(NUMBER, f"{self.load.prefix}{self._number}"))
        text = bodies[0] if self.load.items == 1 else '{"notifications":[' + ",".join(bodies) + "]}"
        if SENT_AT in text:
            text = text.replace(SENT_AT, f"{time.time() - (time.perf_counter() - due):.6f}")
        body = text.encode()
        return f"{self._head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def answered(self, connection: _Connection, status: str, since: float) -> None:
        self._last = time.perf_counter()
        self._latencies.append((self._last - since) * 1000)
        self._statuses[status] += 1
        if self.load.rate_per_s is None:
            self._next(connection)
            return
        self._idle.append(connection)
        self._send_waiting()
        self._check_end()

    def lost(self, connection: _Connection) -> None:
        if self._sending or len(self._latencies) < self._sent:
            self._statuses["lost"] += 1
            self._latencies.append(GIVE_UP_S * 1000)
            self._check_end()

    def _check_end(self) -> None:
        if not self._sending and not self._waiting and len(self._latencies) >= self._sent:
            self._all_answered.set()


async def _main() -> None:
    load = Load(**json.loads(sys.stdin.read()))
    print(json.dumps(asdict(await _Generator(load).run())))


if __name__ == "__main__":
    uvloop.run(_main())
