"""A provider's rate: it holds over time, with bursts of one second's tokens, and tenants share it."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ratelimit import limiter as limiters
from ratelimit.limiter import Limiter

HOUR_US = 3_600_000_000
KEYS = [f"{{herald:limit}}:{name}" for name in ("one", "two", "three", "four")]


class Bucket:
    """A bucket of 100 tokens that is never refilled. Every tenant that asked counts for an hour."""

    def __init__(self, store: Any, weights: Mapping[str, int]) -> None:
        self._script = store.register_script(
            Path(limiters.__file__).with_name("bucket.lua").read_text(encoding="utf-8")
        )
        self._weights = weights

    async def takes(self, tenant: str, asks: int = 1) -> int:
        """How many tokens a tenant gets of those that it asks for."""
        weight = self._weights.get(tenant, 1)
        arguments = [1e-9, 100, tenant, weight, HOUR_US]
        waits = [await self._script(keys=KEYS, args=arguments) for _ in range(asks)]
        return waits.count(0)


async def test_a_burst_is_limited_to_the_bucket(limiter: Limiter) -> None:
    waits = await asyncio.gather(*(limiter.take("twilio", 0.001, "acme") for _ in range(50)))
    assert sum(wait == 0 for wait in waits) == 1
    assert all(990 < wait <= 1000 for wait in waits if wait)


async def test_the_rate_holds_over_time(limiter: Limiter) -> None:
    rate = 50.0
    began = time.monotonic()
    taken: Counter[str] = Counter()
    while taken.total() < 100:
        for tenant in ("acme", "bank"):
            taken[tenant] += await limiter.take("termii", rate, tenant) == 0
        assert time.monotonic() - began < 30
    # The bucket starts with one second's tokens, so 100 tokens take at least one more second.
    assert time.monotonic() - began >= 0.95
    assert min(taken.values()) > 40


async def test_providers_do_not_share_a_bucket(limiter: Limiter) -> None:
    assert await limiter.take("fcm", 0.001, "acme") == 0
    assert await limiter.take("apns", 0.001, "acme") == 0
    assert await limiter.take("fcm", 0.001, "acme") > 0


async def test_a_tenant_alone_gets_all_but_what_is_left_for_newcomers(store: Any, limiter: Limiter) -> None:
    bucket = Bucket(store, {})
    assert await bucket.takes("burst", 1000) == 90
    assert await bucket.takes("quiet", 20) == 10, "at once, after another tenant's burst"


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({}, {"a": 50, "b": 50}),
        ({"a": 3}, {"a": 75, "b": 25}),
        ({"b": 4}, {"a": 20, "b": 80}),
        ({"c": 2}, {"a": 25, "b": 25, "c": 50}),
    ],
    ids=str,
)
@pytest.mark.parametrize("greedy", ["a", "b"])
async def test_tenants_that_ask_together_get_their_shares(
    store: Any, limiter: Limiter, weights: Mapping[str, int], shares: Mapping[str, int], greedy: str
) -> None:
    bucket = Bucket(store, weights)
    taken = Counter({tenant: await bucket.takes(tenant) for tenant in shares})
    taken[greedy] += await bucket.takes(greedy, 500)
    for tenant in shares:
        taken[tenant] += await bucket.takes(tenant, 500)
    assert taken.total() <= 100
    # What the first ones took before the others had asked counts for no share.
    assert all(taken[tenant] >= share - len(shares) for tenant, share in shares.items()), taken


async def test_a_refusal_takes_nothing(store: Any, limiter: Limiter) -> None:
    bucket = Bucket(store, {})
    await bucket.takes("a")
    await bucket.takes("b", 500)
    before = await store.hget(KEYS[0], "tokens")
    assert await bucket.takes("b", 10) == 0
    assert float(await store.hget(KEYS[0], "tokens")) == pytest.approx(float(before))


async def test_a_tenant_that_no_longer_asks_leaves_its_share_to_others(limiter: Limiter, store: Any) -> None:
    assert await limiter.take("smtp", 1000.0, "gone") == 0
    assert await limiter.take("smtp", 1000.0, "here") == 0
    await store.zadd("{herald:limit}:rate:smtp:tenants", {"gone": 1})
    assert await limiter.take("smtp", 1000.0, "here") == 0
    assert await store.zrange("{herald:limit}:rate:smtp:tenants", 0, -1) == ["here"]
    assert not [
        name for name in await store.hkeys("{herald:limit}:rate:smtp:shares") if name.endswith(":gone")
    ]
