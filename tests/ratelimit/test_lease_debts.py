"""What batches and bursts owe is repaid by time alone. Processes and store share a simulated clock."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from waiting import until

from ratelimit import leases
from ratelimit.leases import AHEAD_S, Bucket, Lease, TokenLeases

_SCRIPT = Path(leases.__file__).with_name("lease.lua").read_text(encoding="utf-8")
_CLOCK = "redis.call('TIME')"
CASES = [
    # The rate, the bucket, and what a batch costs.
    (5.0, 5.0, 40),
    (5.0, 1.0, 40),
    (0.5, 1.0, 10),
    (20.0, 60.0, 1000),
    (3.0, 7.5, 8),
]


@dataclass
class Processes:
    """API processes that share a bucket."""

    store: Any
    now: float = 1000.0
    meanwhile: Callable[[], None] | None = None
    """Runs once while a lease is under way."""

    def __post_init__(self) -> None:
        assert _SCRIPT.count(_CLOCK) == 1
        self._script = self.store.register_script(_SCRIPT.replace(_CLOCK, "{0, ARGV[5]}"))
        self.all = [TokenLeases(self._ask, lambda: self.now) for _ in range(3)]

    async def _ask(self, name: str, per_s: float, capacity: float, owed: float, wanted: int) -> Lease:
        arguments = [per_s, capacity, owed, wanted, round(self.now * 1e6)]
        leased, left, wait_us = await self._script(keys=[name], args=arguments)
        if self.meanwhile is not None:
            self.meanwhile, once = None, self.meanwhile
            once()
        return Lease(leased, left, wait_us / 1e6)

    def buckets(self, per_s: float, capacity: float) -> list[Bucket]:
        return [process.bucket("tenant:bank", per_s, capacity) for process in self.all]

    async def settle(self, *buckets: Bucket) -> None:
        async def answered() -> bool:
            return all(bucket.asked_at is None for bucket in buckets)

        await until(answered)

    async def requests(self, count: int, place: int, bucket: Bucket) -> int:
        """How many are admitted, one after the other."""
        admitted = 0
        for _ in range(count):
            admitted += self.all[place].take(bucket) == 0
            await self.settle(bucket)
        return admitted


@pytest_asyncio.fixture
async def processes(store: Any) -> AsyncIterator[Processes]:
    found = Processes(store)
    yield found
    for process in found.all:
        await process.aclose()


@pytest.mark.parametrize(("per_s", "capacity", "cost"), CASES)
async def test_a_client_that_waits_as_it_was_told_is_admitted(
    processes: Processes, per_s: float, capacity: float, cost: int
) -> None:
    process, bucket = processes.all[0], processes.buckets(per_s, capacity)[0]
    assert process.take(bucket) == 0
    process.charge(bucket, cost - 1)
    await processes.settle(bucket)
    wait_s = process.take(bucket)
    assert wait_s == pytest.approx((cost - capacity + 1) / per_s, abs=0.5 / per_s)
    processes.now += wait_s / 2
    assert process.take(bucket) > 0
    processes.now += wait_s / 2 + 0.001
    assert process.take(bucket) == 0
    await processes.settle(bucket)


@pytest.mark.parametrize(("per_s", "capacity", "cost"), CASES)
async def test_a_debt_is_repaid_once_and_counts_for_every_process(
    processes: Processes, per_s: float, capacity: float, cost: int
) -> None:
    buckets = processes.buckets(per_s, capacity)
    assert processes.all[0].take(buckets[0]) == 0
    processes.all[0].charge(buckets[0], cost - 1)
    await processes.settle(*buckets)
    # Each notices with its next lease, and what it admitted until then is owed too.
    spent = cost + await processes.requests(2 * ceil(capacity), 1, buckets[1])
    waits_s = [processes.all[place].take(buckets[place]) for place in (0, 1)]
    assert waits_s[1] == pytest.approx((spent - capacity + 1) / per_s, abs=1.5 / per_s)
    processes.now += max(waits_s) + 0.001
    assert processes.all[1].take(buckets[1]) == 0
    await processes.settle(*buckets)
    processes.now += (capacity + 1) / per_s
    # All but what the other process leased ahead.
    full = int(capacity - max(1.0, AHEAD_S * per_s))
    assert await processes.requests(int(capacity), 0, buckets[0]) >= full


@pytest.mark.parametrize(("per_s", "capacity", "cost"), CASES)
async def test_after_a_refused_burst_and_silence_the_bucket_is_full(
    processes: Processes, per_s: float, capacity: float, cost: int
) -> None:
    buckets = processes.buckets(per_s, capacity)
    for _ in range(3):
        for place, bucket in enumerate(buckets):
            # At once: no lease is answered in between.
            assert [processes.all[place].take(bucket) for _ in range(cost + 40)][-1] > 0
        await processes.settle(*buckets)
        processes.now += 4 * (capacity + 2) / per_s + 1
        for place, bucket in enumerate(buckets):
            assert processes.all[place].take(bucket) == 0
        assert {processes.all[0].take(buckets[0]) for _ in range(int(capacity) - 1)} <= {0.0}
        await processes.settle(*buckets)


@pytest.mark.parametrize(("per_s", "capacity", "cost"), CASES)
async def test_a_batch_during_a_lease_is_repaid_without_another_request(
    processes: Processes, per_s: float, capacity: float, cost: int
) -> None:
    process, bucket = processes.all[0], processes.buckets(per_s, capacity)[0]
    processes.meanwhile = lambda: process.charge(bucket, cost)
    assert process.take(bucket) == 0
    await processes.settle(bucket)
    processes.now += (cost + 2) / per_s
    assert process.take(bucket) == 0


@pytest.mark.parametrize(("per_s", "capacity", "cost"), CASES)
async def test_the_rate_holds_over_time(
    processes: Processes, per_s: float, capacity: float, cost: int
) -> None:
    buckets = processes.buckets(per_s, capacity)
    began, admitted = processes.now, 0
    for _ in range(100):
        for place, bucket in enumerate(buckets):
            admitted += await processes.requests(3, place, bucket)
        processes.now += 0.5 / per_s
    seconds = processes.now - began
    # Each may have admitted a bucket once before it knew of the others.
    assert per_s * seconds * 0.9 <= admitted <= 3 * (capacity + 1) + per_s * seconds * 1.05
