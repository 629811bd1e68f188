"""Rates that hold over all processes, checked without asking the store.

Each process leases tokens of a shared bucket ahead of need and spends them by itself. It never waits for a
lease: until the answer comes, requests go on as if it had been granted, and what they used is owed. So each
process can exceed a burst by what may be left since its last lease, within one round trip. What is owed is
taken from the bucket, which may be negative, so that the rate repays it while nobody asks. While the store is
away, every process keeps to the rate by itself.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import ceil
from time import monotonic
from typing import Final, NamedTuple

from ratelimit.limiter import STORE_LOST

AHEAD_S: Final = 0.25
"""For how long a lease may last, in seconds of the full rate; also what may be owed meanwhile at least."""
AWAY_S: Final = 1.0
"""How long after the store was lost it is asked again."""
BUCKETS_MAX: Final = 10_000


class Lease(NamedTuple):
    """What the store granted ahead of need. `left`: negative if tokens are owed. `wait_s`: until there is
    another token, if fewer than wanted were granted.
    """

    granted: int
    left: int
    wait_s: float


AskStore = Callable[[str, float, float, float, int], Awaitable[Lease]]
"""Leases tokens: the bucket's name, its rate and capacity, how many are owed, and how many are wanted ahead.
Raises one of STORE_LOST.
"""


class Bucket:
    """This process's part of a shared bucket of `capacity` tokens, which `per_s` tokens a second fill."""

    __slots__ = (
        *("asked_at", "capacity", "is_scarce", "left", "low", "name", "per_s", "refilled_at"),
        *("refused_until", "tokens", "used"),
    )

    def __init__(self, name: str, per_s: float, capacity: float, now: float) -> None:
        self.name = name
        self.per_s = per_s
        self.capacity = capacity
        self.tokens = 0.0
        """Leased and not spent; negative: spent and owed."""
        self.left = capacity
        """How many were left in the store at the last lease, over all processes."""
        self.is_scarce = False
        """Whether this was less than half of the capacity."""
        self.low = 0.0
        """Below this, more are leased."""
        self.used = 0.0
        """Spent since the last lease."""
        self.asked_at: float | None = None
        self.refused_until = 0.0
        self.refilled_at = now - capacity / per_s

    @property
    def remaining(self) -> int:
        """About how many tokens are left over all processes."""
        return max(0, min(ceil(self.capacity), int(self.left + self.tokens)))


class TokenLeases:
    """The leases of one process."""

    def __init__(self, ask: AskStore, clock: Callable[[], float] = monotonic) -> None:
        self._ask_store = ask
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._asking: list[Bucket] = []
        self._task: asyncio.Task[None] | None = None
        self._away_until = 0.0

    def bucket(self, name: str, per_s: float, capacity: float) -> Bucket:
        """Return the bucket of this name. At most BUCKETS_MAX are kept, the least recently named one goes."""
        found = self._buckets.get(name)
        if found is None:
            found = self._buckets[name] = Bucket(name, per_s, capacity, self._clock())
            if len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return found

    def take(self, bucket: Bucket, amount: float = 1.0) -> float:
        """Take tokens. Returns 0.0, or the seconds after which to try again; then nothing was taken."""
        if bucket.tokens < amount and (wait_s := self._wait_s(bucket, amount)):
            return wait_s
        self.charge(bucket, amount)
        return 0.0

    def charge(self, bucket: Bucket, amount: float) -> None:
        """Take tokens that may not be there yet: they are owed."""
        bucket.tokens -= amount
        bucket.used += amount
        if bucket.tokens < bucket.low and bucket.asked_at is None:
            self._ask(bucket, self._clock())

    async def aclose(self) -> None:
        """Stop asking for leases."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _wait_s(self, bucket: Bucket, amount: float) -> float:
        now = self._clock()
        if now < self._away_until:
            self._refill(bucket, now)
            return max(0.0, amount - bucket.tokens) / bucket.per_s
        if now < bucket.refused_until:
            return bucket.refused_until - now
        if bucket.asked_at is None:
            self._ask(bucket, now)
        asked_at = now if bucket.asked_at is None else bucket.asked_at
        left = min(bucket.capacity, bucket.left + bucket.per_s * (asked_at - bucket.refilled_at))
        # What is left by now may be owed, and a slow answer refuses nobody: it grows at the rate.
        owed_max = max(1.0, bucket.per_s * AHEAD_S, left) + bucket.per_s * (now - asked_at)
        return max(0.0, amount - owed_max - bucket.tokens) / bucket.per_s

    def _refill(self, bucket: Bucket, now: float) -> None:
        grown = bucket.tokens + bucket.per_s * (now - bucket.refilled_at)
        bucket.tokens, bucket.refilled_at = min(bucket.capacity, grown), now

    def _ask(self, bucket: Bucket, now: float) -> None:
        if now < self._away_until:
            return
        bucket.asked_at = now
        self._asking.append(bucket)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._lease(), name="token leases")

    async def _lease(self) -> None:
        while self._asking:
            asking, self._asking = self._asking, []
            await asyncio.gather(*(self._lease_one(bucket) for bucket in asking))

    async def _lease_one(self, bucket: Bucket) -> None:
        ahead = max(1.0, min(bucket.per_s * AHEAD_S, bucket.capacity, 4 * bucket.used))
        owed = max(0.0, -bucket.tokens)
        wanted = ceil(max(0.0, ahead - max(0.0, bucket.tokens)))
        try:
            lease = await self._ask_store(bucket.name, bucket.per_s, bucket.capacity, owed, wanted)
        except STORE_LOST:
            now = self._clock()
            self._away_until = now + AWAY_S
            self._refill(bucket, now)
        else:
            now = self._clock()
            bucket.tokens = min(bucket.tokens + owed + lease.granted, max(ahead, 1.0))
            bucket.left, bucket.refilled_at, bucket.used = lease.left, now, 0.0
            bucket.low = ahead / 2
            bucket.is_scarce = bucket.remaining < bucket.capacity / 2
            if lease.granted < wanted and bucket.tokens < 1:
                bucket.refused_until = now + lease.wait_s + max(0.0, -bucket.tokens) / bucket.per_s
        finally:
            bucket.asked_at = None
        if bucket.tokens < 0:
            # Spent in the meantime. No later request may come that would report it.
            self._ask(bucket, now)
