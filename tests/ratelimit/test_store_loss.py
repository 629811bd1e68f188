"""A store that is down, stalled or flushed: which deliveries pass, which wait, and how long."""

import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from devstack.ports import free_port
from devstack.process import Process
from devstack.valkey import Valkey
from ratelimit.fallback import NAMES_MAX, LocalCounts
from ratelimit.keys import LimitKey
from ratelimit.limiter import RETRY_S_MAX, RETRY_S_MIN, STORE_LOST, Limiter, OnLoss, redis_url

KEY = LimitKey("u1:otp:sms", max=3, per_s=3600)
SHORT = LimitKey("u1:otp:push", max=3, per_s=0.2)


@pytest_asyncio.fixture
async def unreachable() -> AsyncIterator[Limiter]:
    """A limiter whose store refuses connections."""
    with socket.socket() as reserved:
        # Bound but not listening: connections are refused, and no other process can take the port.
        reserved.bind(("127.0.0.1", 0))
        limiter = Limiter.connect(f"redis://127.0.0.1:{reserved.getsockname()[1]}/0")
        yield limiter
        await limiter.aclose()


async def test_an_ordinary_type_waits_while_the_store_is_unreachable(unreachable: Limiter) -> None:
    answer = await unreachable.reserve([KEY], "d", OnLoss.WAIT)
    assert not answer.admitted
    assert answer.store_lost
    assert answer.free_at_s is not None
    assert 0 < answer.free_at_s - time.time() <= RETRY_S_MIN


async def test_a_critical_type_passes_up_to_its_limit_per_process(unreachable: Limiter) -> None:
    answers = [await unreachable.reserve([KEY], f"d{n}", OnLoss.PASS) for n in range(10)]
    assert [answer.admitted for answer in answers] == [True] * 3 + [False] * 7
    assert all(answer.store_lost for answer in answers)
    assert (await unreachable.reserve([KEY], "d0", OnLoss.PASS)).admitted
    assert not await unreachable.release([KEY], "d0")
    assert (await unreachable.reserve([KEY], "d9", OnLoss.PASS)).admitted


async def test_provider_rates_do_not_block_while_the_store_is_unreachable(unreachable: Limiter) -> None:
    assert await unreachable.take("twilio", 0.001, "acme") == 0
    assert await unreachable.take("twilio", 0.001, "acme") == 0
    with pytest.raises(STORE_LOST):
        await unreachable.ping()


async def test_after_a_flush_ordinary_types_wait_for_the_window(limiter: Limiter, valkey: str) -> None:
    assert (await limiter.reserve([KEY], "d0")).admitted
    async with Redis.from_url(valkey) as client:
        await client.flushdb()
    flushed_at = time.time()
    for _ in range(2):
        answer = await limiter.reserve([KEY], "d1")
        assert (answer.admitted, answer.store_lost) == (False, True)
        assert answer.free_at_s == pytest.approx(flushed_at + KEY.per_s, abs=5)
        assert answer.denied == (KEY,)


async def test_a_store_that_was_not_established_counts_as_flushed(valkey: str) -> None:
    limiter = Limiter.connect(valkey, timeout_s=10)
    try:
        assert (await limiter.reserve([KEY], "d")).store_lost
        await limiter.establish()
        answer = await limiter.reserve([KEY], "d")
        assert (answer.admitted, answer.store_lost) == (True, False)
    finally:
        await limiter.aclose()


async def test_after_a_flush_critical_types_are_limited_by_new_counts(limiter: Limiter, valkey: str) -> None:
    async with Redis.from_url(valkey) as client:
        await client.flushdb()
    answers = [await limiter.reserve([KEY], f"d{n}", OnLoss.PASS) for n in range(5)]
    assert [(answer.admitted, answer.store_lost) for answer in answers] == (
        [(True, True)] * 3 + [(False, False)] * 2
    )
    # A limit that is full by new counts denies for certain, ordinary types too.
    ordinary = await limiter.reserve([KEY], "d9")
    assert (ordinary.admitted, ordinary.store_lost) == (False, False)


async def test_a_flushed_store_is_complete_again_after_the_window(limiter: Limiter, valkey: str) -> None:
    async with Redis.from_url(valkey) as client:
        await client.flushdb()
    assert (await limiter.reserve([SHORT], "d")).store_lost
    deadline = time.monotonic() + 10
    while (answer := await limiter.reserve([SHORT], "d")).store_lost:
        assert time.monotonic() < deadline
    assert answer.admitted


async def test_a_stalled_store_counts_as_lost_in_time_and_counts_once_afterwards(
    tmp_path: Path,
) -> None:
    server = Valkey(tmp_path / "valkey", free_port())
    process = Process(server.part(), tmp_path / "logs")
    await process.start()
    limiter = Limiter.connect(server.url(0))
    patient = Limiter.connect(server.url(0), timeout_s=10)
    try:
        await patient.establish()
        assert (await patient.reserve([KEY], "d0")).admitted
        await limiter.ping()
        os.kill(process.pid, signal.SIGSTOP)
        began = time.monotonic()
        waiting = await limiter.reserve([KEY], "d1")
        passing = await limiter.reserve([KEY], "d2", OnLoss.PASS)
        token_wait = await limiter.take("twilio", 1, "acme")
        released = await limiter.release([KEY], "d0")
        took = time.monotonic() - began
        os.kill(process.pid, signal.SIGCONT)
        assert (waiting.admitted, waiting.store_lost) == (False, True)
        assert (passing.admitted, passing.store_lost) == (True, True)
        assert (token_wait, released) == (0, False)
        # Four calls of at most 250 ms, plus slack for a busy machine.
        assert took < 4 * 0.25 + 1
        # The store ran the delayed commands when it resumed; the same members count once.
        answers = [await patient.reserve([KEY], f"d{n}") for n in range(6)]
        assert sum(answer.admitted for answer in answers) == 3
    finally:
        os.kill(process.pid, signal.SIGCONT)
        await limiter.aclose()
        await patient.aclose()
        await process.stop()


async def test_the_wait_for_a_lost_store_grows_with_the_outage(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", free_port())
    process = Process(server.part(), tmp_path / "logs")
    await process.start()
    now = 1000.0
    limiter = Limiter(Redis.from_url(server.url(0)), clock=lambda: now)

    async def wait_s() -> float:
        answer = await limiter.reserve([KEY], "d")
        assert answer.free_at_s is not None
        return answer.free_at_s - now

    try:
        os.kill(process.pid, signal.SIGSTOP)
        assert await wait_s() == RETRY_S_MIN
        now += 4
        assert await wait_s() == 4
        now += 60
        assert await wait_s() == RETRY_S_MAX
        os.kill(process.pid, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while not await limiter.release([KEY], "d"):
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGSTOP)
        assert await wait_s() == RETRY_S_MIN
    finally:
        os.kill(process.pid, signal.SIGCONT)
        await limiter.aclose()
        await process.stop()


def test_local_counts_are_bounded_and_expire() -> None:
    counts = LocalCounts()
    for n in range(NAMES_MAX + 10):
        assert counts.reserve([LimitKey(f"u{n}", 1, 60)], "d", now=0) == ()
    newest = LimitKey(f"u{NAMES_MAX + 9}", 1, 60)
    assert counts.reserve([LimitKey("u0", 1, 60)], "other", now=1) == ()
    assert counts.reserve([newest], "other", now=59.9) == (newest,)
    assert counts.reserve([newest], "other", now=60) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("valkey://h:1/2", "redis://h:1/2"),
        ("valkeys://:secret@h:1/2", "rediss://:secret@h:1/2"),
        ("redis://h:1/2", "redis://h:1/2"),
        ("rediss://h", "rediss://h"),
    ],
)
def test_urls_of_valkey_and_redis_are_accepted(given: str, expected: str) -> None:
    assert redis_url(given) == expected


@pytest.mark.parametrize("given", ["h:1", "http://h", "", "://"])
def test_another_scheme_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="valkey://"):
        redis_url(given)
