"""Spend caps: exact under concurrency, each charge counted once, alerts once a day, atomic with limits."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from domain.limit_policy import OnLimit
from ratelimit.keys import Charge, LimitKey
from ratelimit.limiter import Count, Limiter, OnLoss, Reservation

DAY_S = 86_400


def charge(micros: int, max_micros: int = 1000, name: str = "spend:USD:tenant:bank") -> Charge:
    return Charge(name, micros, max_micros, "USD")


async def spend(limiter: Limiter, name: str, *charges: Charge, keys: Sequence[LimitKey] = ()) -> Reservation:
    return await limiter.reserve(keys, name, OnLoss.WAIT, charges, f"{name}:0")


async def spent(limiter: Limiter, *charges: Charge) -> list[int]:
    return (await limiter.count([], charges))[1]


async def test_concurrent_sends_never_exceed_the_cap(limiter: Limiter) -> None:
    answers = await asyncio.gather(*(spend(limiter, f"d{n}", charge(30)) for n in range(100)))
    assert sum(answer.admitted for answer in answers) == 33
    assert await spent(limiter, charge(0)) == [990]
    denied = next(answer for answer in answers if not answer.admitted)
    assert (denied.over, denied.denied, denied.store_lost) == ((charge(30),), (), False)
    # Until the next day (UTC).
    assert denied.free_at_s is not None
    assert denied.free_at_s % DAY_S == 0
    assert 0 < denied.free_at_s - time.time() <= DAY_S


async def test_a_repeated_charge_is_counted_once(limiter: Limiter) -> None:
    answers = await asyncio.gather(*(spend(limiter, "same", charge(700)) for _ in range(20)))
    assert all(answer.admitted for answer in answers)
    assert await spent(limiter, charge(0)) == [700]


async def test_another_price_replaces_the_charge(limiter: Limiter) -> None:
    for micros in (400, 700, 200, 1000):
        assert (await spend(limiter, "d", charge(micros))).admitted
        assert await spent(limiter, charge(0)) == [micros]
    assert not (await spend(limiter, "d", charge(1001))).admitted
    assert await spent(limiter, charge(0)) == [1000]


async def test_a_charge_that_is_held_is_admitted_above_a_lowered_cap(limiter: Limiter) -> None:
    await spend(limiter, "d", charge(700))
    assert (await spend(limiter, "d", charge(700, 500))).admitted
    assert (await spend(limiter, "d", charge(600, 500))).admitted
    assert not (await spend(limiter, "e", charge(1, 500))).admitted


async def test_a_charge_is_given_back_once(limiter: Limiter) -> None:
    await spend(limiter, "a", charge(400))
    await spend(limiter, "b", charge(400))
    for _ in range(2):
        assert await limiter.release((), "a", [charge(0)], "a:0")
    assert await limiter.release((), "never", [charge(0)], "never:0")
    assert await spent(limiter, charge(0)) == [400]


async def test_limits_and_caps_are_reserved_together_or_not_at_all(limiter: Limiter, store: Any) -> None:
    place = LimitKey("u1:sms", max=1, per_s=3600)
    other = charge(10, 1000, "spend:USD:country:NG")
    assert (await spend(limiter, "a", charge(900), other, keys=[place])).admitted
    before = {key: await store.dump(key) for key in await store.keys("*")}
    # The limit is full, the cap is not; then the cap is over, and the limit is not.
    full = await spend(limiter, "b", charge(10), other, keys=[place])
    assert (full.denied, full.over) == ((place,), ())
    free = LimitKey("u2:sms", max=1, per_s=3600)
    over = await spend(limiter, "c", charge(50), charge(2000, 1000, "spend:USD:country:GH"), keys=[free])
    assert [each.name for each in over.over] == ["spend:USD:country:GH"]
    assert not await store.exists(*[key async for key in store.scan_iter("*u2*")] or ["none"])
    assert {key: await store.dump(key) for key in before} == before
    # Both have room for another one.
    assert (await spend(limiter, "d", charge(100), other, keys=[free])).admitted
    assert await spent(limiter, charge(0), other) == [1000, 20]


async def test_every_level_alerts_once_a_day_over_all_processes(limiter: Limiter, valkey: str) -> None:
    second = Limiter.connect(valkey, timeout_s=10)
    limiters = [limiter, second]
    answers = await asyncio.gather(*(spend(limiters[n % 2], f"d{n}", charge(10)) for n in range(150)))
    levels = sorted(level for answer in answers for _, level in answer.alerts)
    assert levels == [50, 80, 100]
    # Given back and spent again: it was said today.
    for n in range(60):
        await limiter.release((), f"d{n}", [charge(0)], f"d{n}:0")
    again = [await spend(limiter, f"e{n}", charge(10)) for n in range(70)]
    assert [answer.alerts for answer in again if answer.alerts] == []
    await second.aclose()


async def test_a_cap_that_one_message_exceeds_alerts_too(limiter: Limiter) -> None:
    first = await spend(limiter, "d", charge(2000))
    assert (first.admitted, [level for _, level in first.alerts]) == (False, [50, 80, 100])
    assert (await spend(limiter, "e", charge(2000))).alerts == ()


async def test_the_next_day_begins_at_zero(limiter: Limiter, store: Any) -> None:
    await spend(limiter, "d", charge(1000))
    [key] = await store.keys("*spend*")
    assert 0 < await store.ttl(key) <= DAY_S + 3600
    await store.hincrby(key, "day", -1)
    assert await spent(limiter, charge(0)) == [0]
    # Yesterday's charge is not given back today.
    await limiter.release((), "d", [charge(0)], "d:0")
    again = await spend(limiter, "d", charge(500))
    assert (again.admitted, again.spent, [level for _, level in again.alerts]) == (True, (500,), [50])
    assert await spent(limiter, charge(0)) == [500]
    assert 0 < await store.ttl(key) <= DAY_S + 3600


async def test_after_a_flush_the_day_is_counted_from_zero(limiter: Limiter, store: Any) -> None:
    await spend(limiter, "d", charge(1000))
    await store.flushdb()
    answer = await spend(limiter, "e", charge(1000))
    assert (answer.admitted, answer.store_lost) == (True, False)


async def test_without_the_store_each_process_counts_the_spend_of_critical_types() -> None:
    now = 1_000_000.0
    limiter = Limiter.connect("redis://127.0.0.1:1/0")
    limiter._clock = lambda: now  # pyright: ignore[reportPrivateUsage] (no store, and so no other clock)
    place = LimitKey("n:sms", max=5, per_s=3600)

    async def critical(name: str, micros: int) -> Reservation:
        return await limiter.reserve([place], name, OnLoss.PASS, [charge(micros)], f"{name}:0")

    assert [(await critical(f"d{n}", 400)).admitted for n in range(3)] == [True, True, False]
    denied = await critical("d3", 400)
    assert (denied.over, denied.store_lost) == ((charge(400),), True)
    # A denial took no place: three are left.
    assert [(await critical(f"e{n}", 0)).admitted for n in range(4)] == [True, True, True, False]
    assert (await critical("d0", 600)).admitted, "another price of the same send"
    await limiter.release([place], "d1", [charge(0)], "d1:0")
    assert (await critical("d4", 400)).admitted
    now += DAY_S
    assert (await critical("d5", 1000)).admitted
    waiting = await limiter.reserve([], "w", OnLoss.WAIT, [charge(1)], "w:0")
    assert (waiting.admitted, waiting.store_lost) == (False, True)
    await limiter.aclose()


@pytest.mark.parametrize("taken", [0, 2, 3])
async def test_counting_tells_what_a_reservation_would_find(limiter: Limiter, store: Any, taken: int) -> None:
    key = LimitKey("counted:sms", max=3, per_s=3600, then=OnLimit.DEFER)
    for n in range(taken):
        await limiter.reserve([key], f"d{n}")
    before = {name: await store.dump(name) for name in await store.keys("*")}
    [[count], [total]] = await limiter.count([key], [charge(5)])
    assert (count.taken, total) == (taken, 0)
    assert (count.free_at_s is None) == (taken < 3)
    assert {name: await store.dump(name) for name in await store.keys("*")} == before
    denied = await limiter.reserve([key], "next")
    assert denied.admitted == (taken < 3)
    assert denied.free_at_s == count.free_at_s


async def test_places_that_have_expired_are_not_counted(limiter: Limiter, store: Any) -> None:
    key = LimitKey("old:sms", max=1, per_s=3600)
    await limiter.reserve([key], "d0")
    [name] = await store.keys("*old*")
    await store.zincrby(name, -3600 * 1000, "d0")
    assert (await limiter.count([key]))[0] == [Count(0)]
