"""A broadcast: how fast it is accepted and delivered, whether exactly once, and OTP latency during it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.harness import Bench, Running, TookTooLong, batching
from bench.latency import (
    BULK,
    OTP,
    P99_RATIO_MAX,
    RATE_PER_S,
    add_latencies,
    alone,
    p99_ratio,
    percentile_of,
)
from bench.report import Report, Series, at_least, at_most
from bench.traffic import FIRST, Traffic

ACCEPT_S_MAX, DELIVER_S_MAX = 60.0, 180.0
GIVE_UP_S = 900.0
POLL_S = 0.5
UPLOAD_LINES = 1000
"""How many lines of the audience are sent in one chunk."""

_SETTLED = ("sent", "delivered", "failed", "suppressed", "cancelled", "parked")


@dataclass(frozen=True, slots=True)
class _Run:
    """One broadcast. Times are in seconds since its request, latencies in milliseconds."""

    uploaded_s: float
    accepted_s: float
    delivered_s: float
    once: int
    idle_ms: Sequence[float]
    meanwhile_ms: Sequence[float]
    draining_ms: Sequence[float]
    """Of OTPs sent after every recipient was accepted."""
    curve: Mapping[str, Sequence[tuple[float, float]]]


async def measure(bench: Bench) -> Report:
    """Broadcasts to an uploaded audience, with scheduled OTPs before and during each."""
    report = Report("broadcast", "A broadcast")
    size = bench.option("size", bench.scaled(100_000, 2_000))
    idle_s = bench.option("seconds", bench.scaled(66, 4))
    report.scale = {"recipients": size, "otp_per_s": RATE_PER_S, "idle_s": idle_s}
    runs: list[_Run] = []
    for _ in range(bench.repetitions):
        async with bench.stack(catalog=batching("bulk")) as running, Traffic(running) as traffic:
            await running.instant_vendors()
            runs.append(await _run(bench, running, traffic, size, idle_s))
    group = f"{size:,} recipients"
    report.add("audience uploaded", [run.uploaded_s for run in runs], "s", group=group)
    accepted_s = [run.accepted_s for run in runs]
    report.add("accepted, from the request", accepted_s, "s", at_most(ACCEPT_S_MAX), group=group)
    delivered_s, target = [run.delivered_s for run in runs], at_most(DELIVER_S_MAX)
    report.add("delivered to the vendor, from the request", delivered_s, "s", target, group=group)
    report.add("per second, from the request", [size / took for took in delivered_s], "/s", group=group)
    once = [run.once for run in runs]
    report.add("exactly once at the vendor", once, f"of {size:,}", at_least(size), group=group)
    add_latencies(report, "OTP before the broadcast", [run.idle_ms for run in runs])
    add_latencies(report, "OTP during the broadcast", [run.meanwhile_ms for run in runs])
    ratios = [p99_ratio(run.meanwhile_ms, run.idle_ms) for run in runs]
    report.add("OTP p99 during the broadcast against before", ratios, "×", at_most(P99_RATIO_MAX))
    if all(run.draining_ms for run in runs):
        ratios = [p99_ratio(run.draining_ms, run.idle_ms) for run in runs]
        report.add("the same, after every recipient was accepted", ratios, "×")
    report.series.append(Series("a broadcast", "seconds", "recipients", runs[-1].curve))
    return report


async def _run(bench: Bench, running: Running, traffic: Traffic, size: int, idle_s: float) -> _Run:
    idle_ms = await alone(traffic, idle_s)
    await traffic.simulators.forget(OTP.vendor)
    began = time.time()
    id = await _begin(running, size)
    uploaded_s = time.time() - began
    async with _otps(traffic):
        curve, accepted_s = await _followed(bench, running, id, size, began)
    messages = await traffic.simulators.messages(BULK.vendor)
    received = await traffic.received(BULK.vendor)
    delivered_s = received[size - 1] - began
    times = Counter(message["to"] for message in messages if message["text"].startswith("Hello"))
    once = sum(1 for count in times.values() if count == 1)
    during = [
        (sent_at, took) for sent_at, took in await traffic.stamped(OTP.vendor) if sent_at <= received[-1]
    ]
    meanwhile_ms = [took for _, took in during]
    draining_ms = [took for sent_at, took in during if sent_at > began + accepted_s]
    bench.say(
        f"  accepted in {accepted_s:.0f} s, delivered in {delivered_s:.0f} s, {once:,} exactly once; "
        f"{p99_ratio(meanwhile_ms, idle_ms):.2f} × the p99 of {percentile_of(idle_ms, 99):.0f} ms"
    )
    return _Run(uploaded_s, accepted_s, delivered_s, once, idle_ms, meanwhile_ms, draining_ms, curve)


async def _begin(running: Running, size: int) -> str:
    """Create it and upload its audience."""
    created = await running.api.post(
        "/v1/broadcasts",
        json={
            "type": BULK.type,
            "channels": [BULK.channel],
            "template": {"body": "Hello {{ name }}, our branch in {{ city }} opens on Monday."},
            "data": {"city": "Lagos"},
            "audience": {"kind": "upload"},
            "idempotency_key": "bench",
        },
    )
    id: str = created.raise_for_status().json()["id"]
    answer = await running.api.put(
        f"/v1/broadcasts/{id}/audience",
        content=_lines(size),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=GIVE_UP_S,
    )
    answer.raise_for_status()
    return id


async def _lines(size: int) -> AsyncGenerator[bytes]:
    for start in range(FIRST, FIRST + size, UPLOAD_LINES):
        numbers = range(start, min(start + UPLOAD_LINES, FIRST + size))
        yield b"".join(_line(number) for number in numbers)


def _line(number: int) -> bytes:
    person = {
        "user_id": f"user-{number}",
        "to": {"sms": f"+234803{number}"},
        "data": {"name": f"Ada {number}"},
    }
    return json.dumps(person, separators=(",", ":")).encode() + b"\n"


@asynccontextmanager
async def _otps(traffic: Traffic) -> AsyncGenerator[None]:
    """Send OTPs inside the block, from one process: starting another would delay them."""
    sending = asyncio.create_task(traffic.one_by_one(OTP, RATE_PER_S, GIVE_UP_S))
    try:
        yield
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
        await asyncio.wait([sending])


async def _followed(
    bench: Bench, running: Running, id: str, size: int, began: float
) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """Poll its progress until it ends: lines for a plot, and the seconds until all were accepted."""
    accepted: list[tuple[float, float]] = [(0.0, 0.0)]
    settled: list[tuple[float, float]] = [(0.0, 0.0)]
    accepted_s = 0.0
    while True:
        answer = await running.api.get(f"/v1/broadcasts/{id}")
        view: dict[str, Any] = answer.raise_for_status().json()
        progress, after_s = view["progress"], time.time() - began
        accepted.append((after_s, progress["accepted"]))
        settled.append((after_s, sum(progress[status] for status in _SETTLED)))
        if not accepted_s and progress["accepted"] + progress["refused"] >= size:
            accepted_s = after_s
            bench.say(f"  accepted: {accepted_s:.1f} s")
        if view["ended_at"]:
            return {"accepted": accepted, "sent, by its progress": settled}, accepted_s
        if after_s > GIVE_UP_S:
            raise TookTooLong(f"the broadcast was at {progress} after {after_s:.0f} s")
        await asyncio.sleep(POLL_S)
