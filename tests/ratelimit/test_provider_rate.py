"""A provider's rate: it holds over time, with bursts of one second's tokens."""

import asyncio
import time

from ratelimit.limiter import Limiter


async def test_a_burst_is_limited_to_the_bucket(limiter: Limiter) -> None:
    waits = await asyncio.gather(*(limiter.take("twilio", 0.001) for _ in range(50)))
    assert sum(wait == 0 for wait in waits) == 1
    assert all(990 < wait <= 1000 for wait in waits if wait)


async def test_the_rate_holds_over_time(limiter: Limiter) -> None:
    rate = 50.0
    began = time.monotonic()
    taken = 0
    while taken < 100:
        wait_s = await limiter.take("termii", rate)
        taken += wait_s == 0
        assert time.monotonic() - began < 30
    # The bucket starts with one second's tokens, so 100 tokens take at least one more second.
    assert time.monotonic() - began >= 1.0


async def test_providers_do_not_share_a_bucket(limiter: Limiter) -> None:
    assert await limiter.take("fcm", 0.001) == 0
    assert await limiter.take("apns", 0.001) == 0
    assert await limiter.take("fcm", 0.001) > 0
