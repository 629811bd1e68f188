"""Pipelined calls share round trips, and each gets its own result."""

import asyncio
from typing import Any

from ratelimit.keys import LimitKey
from ratelimit.limiter import Limiter, Reservation

WINDOW_S = 3600


def _key(user: str) -> LimitKey:
    return LimitKey(f"acme:{user}:sms", 1, WINDOW_S)


async def _reserve(limiter: Limiter, *users: str) -> list[Reservation]:
    return list(await asyncio.gather(*(limiter.reserve([_key(user)], f"of {user}") for user in users)))


async def _reads(store: Any) -> int:
    return (await store.info("stats"))["total_reads_processed"]


async def test_a_burst_shares_round_trips_over_one_connection(limiter: Limiter, store: Any) -> None:
    await _reserve(limiter, "first")
    connections, reads = len(await store.client_list()), await _reads(store)
    answers = await _reserve(limiter, *(f"user{n}" for n in range(500)))
    assert all(answer.admitted and not answer.store_lost for answer in answers)
    assert await _reads(store) - reads < 100
    assert len(await store.client_list()) <= connections


async def test_every_call_of_a_burst_gets_its_own_result(limiter: Limiter) -> None:
    await _reserve(limiter, "full")
    first, full, other = await asyncio.gather(
        limiter.reserve([_key("new")], "a"),
        limiter.reserve([_key("full")], "b"),
        limiter.reserve([_key("other")], "c"),
    )
    assert (first.admitted, full.admitted, other.admitted) == (True, False, True)
    assert full.denied == (_key("full"),)


async def test_scripts_are_loaded_again_after_the_store_lost_them(limiter: Limiter, store: Any) -> None:
    await _reserve(limiter, "before")
    await store.script_flush()
    answers = await _reserve(limiter, *(f"after{n}" for n in range(20)))
    assert all(answer.admitted for answer in answers)
    again, beside = await asyncio.gather(
        limiter.reserve([_key("after0")], "another"), limiter.reserve([_key("fresh")], "of fresh")
    )
    assert not again.admitted
    assert beside.admitted


async def test_a_call_that_the_store_refuses_fails_alone(limiter: Limiter, store: Any) -> None:
    broken = _key("broken")
    await store.set("{herald:limit}:" + f"{broken.name}:{WINDOW_S * 1000}", "no sorted set")
    well, ill, also_well = await _reserve(limiter, "one", "broken", "two")
    assert well.admitted
    assert also_well.admitted
    assert not ill.admitted
    assert ill.store_lost


async def test_a_cancelled_call_does_not_affect_the_others(limiter: Limiter) -> None:
    cancelled = asyncio.create_task(limiter.reserve([_key("cancelled")], "of cancelled"))
    other = asyncio.create_task(limiter.reserve([_key("other")], "of other"))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert (await other).admitted
    assert (await limiter.reserve([_key("later")], "of later")).admitted
