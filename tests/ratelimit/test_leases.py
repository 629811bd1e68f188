"""Leased tokens: a rate over several processes, without asking the store for each request."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from waiting import until

from devstack.ports import free_port
from ratelimit.leases import AWAY_S, Bucket, Lease, TokenLeases
from ratelimit.limiter import Limiter


@dataclass
class Clock:
    """A clock that the test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """One API process: its leases, over its own connection to the store."""

    limiter: Limiter
    clock: Clock = field(default_factory=Clock)
    asked: int = 0

    def __post_init__(self) -> None:
        self.leases = TokenLeases(self._ask, self.clock)

    async def _ask(self, name: str, per_s: float, capacity: float, owed: float, wanted: int) -> Lease:
        self.asked += 1
        return Lease(*await self.limiter.lease(name, per_s, capacity, owed, wanted))

    async def requests(self, count: int, per_s: float, capacity: float, name: str = "tenant:bank") -> int:
        """How many requests are admitted, if each lease is answered before the next request."""
        bucket = self.leases.bucket(name, per_s, capacity)
        admitted = 0
        for _ in range(count):
            admitted += self.leases.take(bucket) == 0
            await self.settled(bucket)
        return admitted

    async def settled(self, bucket: Bucket) -> None:
        """Wait until no lease is under way."""

        async def answered() -> bool:
            return bucket.asked_at is None

        await until(answered)

    async def aclose(self) -> None:
        await self.leases.aclose()
        await self.limiter.aclose()


@pytest_asyncio.fixture
async def processes(valkey: str) -> AsyncIterator[list[Process]]:
    found = [Process(Limiter.connect(valkey, timeout_s=5)) for _ in range(3)]
    yield found
    for process in found:
        await process.aclose()


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Process]:
    """A process whose store is away."""
    process = Process(Limiter.connect(f"redis://127.0.0.1:{free_port()}/0", timeout_s=5))
    yield process
    await process.aclose()


@pytest.mark.parametrize(("per_s", "capacity"), [(0.01, 10), (0.01, 100), (0.001, 1)])
async def test_the_rate_holds_over_all_processes(
    processes: list[Process], per_s: float, capacity: float
) -> None:
    admitted = [await process.requests(2 * int(capacity) + 5, per_s, capacity) for process in processes]
    # What a process owes is at most one request at this rate.
    assert capacity <= sum(admitted) <= capacity + len(processes)
    assert [await process.requests(5, per_s, capacity) for process in processes] == [0, 0, 0]


async def test_two_names_are_counted_separately(processes: list[Process]) -> None:
    first, second, _ = processes
    await first.requests(10, 0.01, 4, "tenant:bank")
    assert await second.requests(4, 0.01, 4, "tenant:shop") == 4


async def test_a_busy_process_asks_seldom(processes: list[Process]) -> None:
    process = processes[0]
    assert await process.requests(20_000, 100_000, 200_000) == 20_000
    assert process.asked < 40


async def test_nothing_waits_for_the_store(processes: list[Process]) -> None:
    process, per_s = processes[0], 1000.0
    bucket = process.leases.bucket("tenant:bank", per_s, 2000)
    # No lease can be answered: the loop does not run in between.
    assert {process.leases.take(bucket) for _ in range(2000)} == {0.0}
    assert process.leases.take(bucket) > 0
    # A slow answer refuses nobody who keeps to the rate.
    process.clock.now += 1
    assert process.leases.take(bucket) == 0


async def test_a_batch_is_owed(processes: list[Process]) -> None:
    process = processes[0]
    bucket = process.leases.bucket("tenant:bank", 0.01, 10)
    assert process.leases.take(bucket) == 0
    process.leases.charge(bucket, 99)
    await process.settled(bucket)
    wait_s = process.leases.take(bucket)
    # 100 were used and 10 were there: a token is due when the other 90 are paid.
    assert wait_s == pytest.approx(91 / 0.01, rel=0.05)


async def test_without_the_store_each_process_keeps_to_the_rate(alone: Process) -> None:
    admitted = await alone.requests(100, 5, 10)
    assert 10 <= admitted <= 12
    alone.clock.now += AWAY_S / 2
    assert await alone.requests(100, 5, 10) == pytest.approx(5 * AWAY_S / 2, abs=1)
    assert alone.asked <= 2


async def test_a_store_that_returns_is_asked_again(processes: list[Process], alone: Process) -> None:
    await alone.requests(5, 5, 10)
    asked = alone.asked
    alone.limiter, processes[0].limiter = processes[0].limiter, alone.limiter
    alone.clock.now += AWAY_S + 1
    await alone.requests(20, 5, 10)
    assert alone.asked > asked
    assert processes[1].leases.bucket("tenant:bank", 5, 10).remaining == 10
    await processes[1].requests(1, 5, 10)
    assert processes[1].leases.bucket("tenant:bank", 5, 10).remaining < 10
