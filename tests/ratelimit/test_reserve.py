"""Reservations: exact under concurrency, counted once, all or nothing."""

import asyncio
import time
from typing import Any

import pytest

from domain.limit_policy import Limit, OnLimit
from domain.notification import Channel
from domain.notification_types import NotificationType
from ratelimit.keys import LimitKey, limit_keys
from ratelimit.limiter import Limiter, Reservation

HOURLY = LimitKey("u1:alerts:sms", max=3, per_s=3600)
DAILY = LimitKey("u1:alerts:sms", max=5, per_s=86_400)


async def _reserve(
    limiter: Limiter, count: int, key: LimitKey = HOURLY, name: str = "d"
) -> list[Reservation]:
    return list(await asyncio.gather(*(limiter.reserve([key], f"{name}{n}") for n in range(count))))


async def test_exactly_three_of_a_hundred_concurrent_pass(limiter: Limiter) -> None:
    answers = await _reserve(limiter, 100)
    assert sum(answer.admitted for answer in answers) == 3
    assert not any(answer.store_lost for answer in answers)


async def test_a_retried_reservation_counts_once(limiter: Limiter) -> None:
    repeated = await asyncio.gather(*(limiter.reserve([HOURLY], "same") for _ in range(50)))
    assert all(answer.admitted for answer in repeated)
    assert sum(answer.admitted for answer in await _reserve(limiter, 10)) == 2


async def test_a_member_that_holds_a_place_is_admitted_when_all_are_taken(limiter: Limiter) -> None:
    await _reserve(limiter, 3)
    assert (await limiter.reserve([HOURLY], "d0")).admitted
    assert not (await limiter.reserve([HOURLY], "other")).admitted


async def test_a_repeated_reservation_restarts_its_window(limiter: Limiter, store: Any) -> None:
    await _reserve(limiter, 3)
    [key] = await store.keys("*sms*")
    for member in ("d0", "d1", "d2"):
        await store.zincrby(key, -3000 * 1000, member)
    assert (await limiter.reserve([HOURLY], "d0")).admitted
    for member in ("d0", "d1", "d2"):
        await store.zincrby(key, -700 * 1000, member)
    assert sum(answer.admitted for answer in await _reserve(limiter, 10, name="e")) == 2, "d0 holds its place"
    assert await store.ttl(key) > 3500


async def test_a_denial_refreshes_no_place(limiter: Limiter, store: Any) -> None:
    full = LimitKey("u9:b:sms", max=1, per_s=3600)
    await limiter.reserve([HOURLY], "d0")
    [key] = await store.keys("*u1*sms*")
    await store.zincrby(key, -3000 * 1000, "d0")
    before = await store.zscore(key, "d0")
    await limiter.reserve([full], "other")
    assert not (await limiter.reserve([HOURLY, full], "d0")).admitted
    assert await store.zscore(key, "d0") == before


async def test_release_frees_only_its_members_place_and_only_once(limiter: Limiter) -> None:
    await _reserve(limiter, 3)
    assert await limiter.release([HOURLY], "never-came")
    assert not (await limiter.reserve([HOURLY], "d3")).admitted
    for _ in range(2):
        assert await limiter.release([HOURLY], "d1")
    assert (await limiter.reserve([HOURLY], "d3")).admitted
    assert not (await limiter.reserve([HOURLY], "d4")).admitted


async def test_a_denial_stores_nothing(limiter: Limiter, store: Any) -> None:
    await _reserve(limiter, 3)
    keys = await store.keys("*sms*")
    before = await store.zrange(keys[0], 0, -1, withscores=True)
    assert not (await limiter.reserve([HOURLY], "late")).admitted
    assert await store.zrange(keys[0], 0, -1, withscores=True) == before


async def test_a_denial_returns_when_a_place_is_free(limiter: Limiter) -> None:
    before = time.time()
    await _reserve(limiter, 3)
    denied = await limiter.reserve([HOURLY], "late")
    assert denied.free_at_s is not None
    # The store uses this machine's clock, truncated to milliseconds.
    assert before + 3600 - 0.001 <= denied.free_at_s <= time.time() + 3600
    assert denied.denied == (HOURLY,)


async def test_several_limits_are_reserved_all_or_nothing(limiter: Limiter) -> None:
    hourly = LimitKey("u2:a:sms", max=5, per_s=3600)
    full = LimitKey("u2:b:sms", max=1, per_s=3600, then=OnLimit.DEFER)
    await limiter.reserve([full], "first")
    denied = await limiter.reserve([hourly, full], "d")
    assert not denied.admitted
    assert denied.denied == (full,)
    assert sum(answer.admitted for answer in await _reserve(limiter, 10, hourly)) == 5


async def test_the_denial_waits_for_the_last_of_several_limits(limiter: Limiter) -> None:
    once_an_hour, once_a_day = (
        LimitKey("u3:a:sms", max=1, per_s=3600),
        LimitKey("u3:b:sms", max=1, per_s=86_400),
    )
    await limiter.reserve([once_an_hour, once_a_day], "d0")
    denied = await limiter.reserve([once_an_hour, once_a_day], "d1")
    assert denied.denied == (once_an_hour, once_a_day)
    assert denied.free_at_s is not None
    assert denied.free_at_s > time.time() + 86_000


async def test_limits_with_one_name_and_different_windows_do_not_evict_each_other(limiter: Limiter) -> None:
    short = LimitKey("u4:alerts:sms", max=1, per_s=0.05)
    long = LimitKey("u4:alerts:sms", max=2, per_s=3600)
    admitted = 0
    deadline = time.monotonic() + 10
    for n in range(1000):
        answer = await limiter.reserve([short, long], f"d{n}")
        admitted += answer.admitted
        if answer.denied == (long,) or time.monotonic() > deadline:
            break
    assert admitted == 2


async def test_a_place_is_free_after_the_window(limiter: Limiter) -> None:
    short = LimitKey("u5:alerts:sms", max=1, per_s=0.05)
    assert (await limiter.reserve([short], "d0")).admitted
    denied = await limiter.reserve([short], "d1")
    deadline = time.monotonic() + 10
    while not (await limiter.reserve([short], "d1")).admitted:
        assert time.monotonic() < deadline
    assert denied.free_at_s is not None
    assert time.time() >= denied.free_at_s - 0.001


async def test_a_lowered_maximum_waits_until_enough_have_left(limiter: Limiter, store: Any) -> None:
    await _reserve(limiter, 3)
    [key] = await store.keys("*sms*")
    scores = [score for _, score in await store.zrange(key, 0, -1, withscores=True)]
    denied = await limiter.reserve([LimitKey(HOURLY.name, max=1, per_s=3600)], "late")
    assert denied.free_at_s == pytest.approx(scores[-1] / 1000 + 3600)


async def test_no_limit_is_always_admitted(limiter: Limiter) -> None:
    assert (await limiter.reserve([], "d")).admitted
    assert await limiter.release([], "d")


async def test_every_key_but_the_sentinel_expires(limiter: Limiter, store: Any) -> None:
    await limiter.reserve([HOURLY, DAILY], "d")
    await limiter.take("twilio", 5, "acme")
    keys = [key for key in await store.keys("*") if not key.endswith(":since")]
    assert len(keys) == 6
    assert all([await store.ttl(key) > 0 for key in keys])


def test_types_of_a_group_share_a_count_and_the_user_is_not_named() -> None:
    limit = Limit(channel=Channel.SMS, max=3, per_s=3600, group="alerts", then=OnLimit.DEFER)
    grouped = NotificationType(limits=(limit, Limit(channel=Channel.PUSH, max=1, per_s=60)))
    [price] = limit_keys("acme", "ada@example.com", "price_alert", grouped, Channel.SMS)
    [stock] = limit_keys("acme", "ada@example.com", "stock_alert", grouped, Channel.SMS)
    assert price == stock
    assert (price.max, price.per_s, price.then) == (3, 3600, OnLimit.DEFER)
    assert "ada" not in price.name
    assert limit_keys("acme", "bob", "price_alert", grouped, Channel.SMS) != (price,)
    assert limit_keys("acm", "eada@example.com", "price_alert", grouped, Channel.SMS) != (price,)
    assert limit_keys("acme", "ada@example.com", "price_alert", grouped, Channel.EMAIL) == ()
    [push] = limit_keys("acme", "bob", "price_alert", grouped, Channel.PUSH)
    assert limit_keys("acme", "bob", "stock_alert", grouped, Channel.PUSH) != (push,)
