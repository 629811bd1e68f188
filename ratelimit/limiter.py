"""Limits, spend caps and rates per provider, kept in Valkey or Redis by atomic scripts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from ratelimit.fallback import LocalCounts
from ratelimit.keys import Charge, LimitKey
from ratelimit.pipeline import ScriptPipeline

STORE_TIMEOUT_S = 0.25
"""The longest wait for the store; a slower store counts as lost."""

RETRY_S_MIN = 1.0
RETRY_S_MAX = 10.0
"""Bounds of the wait before a delivery checks a lost store again. The wait equals the outage's length so far:
short after a short outage, and few checks during a long one.
"""

CONTENDS_US = 3_000_000
"""How long a tenant that asked for a token keeps its share, in microseconds: longer than a refused
delivery waits.
"""

_SPACE = "{herald:limit}"
"""The hash tag of all keys: the scripts read the sentinel together with the limits, so all share one slot."""

_SENTINEL = f"{_SPACE}:since"
_SHARED = ("tenants", "shares", "low")
"""The further keys of a provider's bucket, in the order of bucket.lua."""
_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_LUA = Path(__file__).parent
STORE_LOST = (RedisError, OSError, TimeoutError)
"""Exceptions that mean the store did not respond."""


class OnLoss(StrEnum):
    """What a delivery does when the counts were lost or the store is unreachable."""

    PASS = "pass"  # noqa: S105 (a policy, not a secret)
    """Send it, limited by the counts since the loss, or by this process's counts: for critical types."""
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Reservation:
    """The result of a reservation.

    `free_at_s`, in seconds since 1970, is when to try again; None if admitted. `store_lost` means that the
    counts were incomplete: an admitted delivery passed by policy (OnLoss.PASS), and a delivery that was not
    admitted must wait, whatever its type does at a limit. `denied` has the limits that were full, and
    `over` the charges that exceed their cap. `spent` has what each cap's day amounts to now, in millionths.
    `alerts`: caps that reached a level, in per cent, for the first time today.
    """

    admitted: bool
    free_at_s: float | None = None
    store_lost: bool = False
    denied: tuple[LimitKey, ...] = ()
    over: tuple[Charge, ...] = ()
    spent: tuple[int, ...] = ()
    alerts: tuple[tuple[Charge, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """The places that are taken under a limit. `free_at_s`, in seconds since 1970: when one becomes free;
    None: there is one.
    """

    taken: int
    free_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class StoreState:
    """What the store says about itself. `eviction`: its policy when memory is full."""

    version: str
    eviction: str
    is_durable: bool


class Limiter:
    """The limits of one installation, shared by all its processes through the store."""

    def __init__(
        self, client: Redis, *, timeout_s: float = STORE_TIMEOUT_S, clock: Callable[[], float] = time.time
    ) -> None:
        """Use a client that does not retry (see `connect`).

        `clock`, in seconds since 1970, is used only while the store is unreachable.
        """
        self._client = client
        self._timeout_s = timeout_s
        self._clock = clock
        self._local = LocalCounts()
        self._lost_since: float | None = None
        self._pipeline = ScriptPipeline(client, timeout_s)
        self._reserve = client.register_script((_LUA / "reserve.lua").read_text())
        self._release = client.register_script((_LUA / "release.lua").read_text())
        self._count = client.register_script((_LUA / "count.lua").read_text())
        self._lease = client.register_script((_LUA / "lease.lua").read_text())
        self._give_back = client.register_script((_LUA / "give_back.lua").read_text())
        self._take = client.register_script((_LUA / "bucket.lua").read_text())

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = STORE_TIMEOUT_S) -> Self:
        """Create a limiter for a store at a `redis://`, `rediss://`, `valkey://` or `valkeys://` URL.

        Connects on first use. Raises ValueError for another scheme.
        """
        client = Redis.from_url(
            redis_url(url),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # A retry would double the caller's wait.
            retry=Retry(NoBackoff(), 0),
        )
        return cls(client, timeout_s=timeout_s)

    async def inspect(self) -> StoreState:
        """The store's version and how it keeps its data. Raises RedisError, OSError or TimeoutError."""
        async with asyncio.timeout(self._timeout_s):
            info = await self._client.info()
        return StoreState(
            str(info.get("valkey_version") or info.get("redis_version")),
            str(info.get("maxmemory_policy")),
            bool(info.get("aof_enabled")),
        )

    async def establish(self) -> None:
        """Declare the store's counts complete, even if it is empty.

        Only for an installation whose ledger has no attempt yet (or none within the longest limit): it
        distinguishes an empty store from a flushed one. A store without this declaration counts as flushed.
        Raises RedisError, OSError or TimeoutError if the store is unreachable.
        """
        async with asyncio.timeout(self._timeout_s):
            await self._client.set(_SENTINEL, 0)

    async def reserve(
        self,
        keys: Sequence[LimitKey],
        member: str,
        on_loss: OnLoss = OnLoss.WAIT,
        charges: Sequence[Charge] = (),
        charge: str = "",
    ) -> Reservation:
        """Reserve a place for the member under every limit, and every charge, or none of them.

        `charge` names the send that the charges are for. A lost store raises no error. A member that already
        has a place is admitted and counts once, and so does a charge: repeat the reservation before every
        pass. A flushed store has complete counts again after the limit's `per_s`; until then `on_loss`
        decides.
        """
        if not keys and not charges:
            return Reservation(admitted=True)
        arguments: list[str | int] = [member, 1 if on_loss is OnLoss.PASS else 0, len(keys), charge]
        for key in keys:
            arguments += [key.max, _milliseconds(key.per_s)]
        for each in charges:
            arguments += [each.max_micros, each.micros]
        names = [_SENTINEL, *map(_stored_name, keys), *map(_spend_name, charges)]
        try:
            admitted, incomplete, free_at_ms, full, spent, alerts = await self._call(
                self._reserve, names, arguments
            )
        except STORE_LOST:
            return self._without_store(keys, member, on_loss, charges, charge)
        counted = len(keys)
        return Reservation(
            admitted=bool(admitted),
            free_at_s=None if admitted else free_at_ms / 1000,
            store_lost=bool(incomplete),
            denied=tuple(keys[position - 1] for position in full if position <= counted),
            over=tuple(charges[position - counted - 1] for position in full if position > counted),
            spent=tuple(spent),
            alerts=tuple(
                (charges[position - counted - 1], level)
                for position, level in zip(alerts[::2], alerts[1::2], strict=True)
            ),
        )

    async def release(
        self, keys: Sequence[LimitKey], member: str, charges: Sequence[Charge] = (), charge: str = ""
    ) -> bool:
        """Free the member's places after its delivery ended without a send, and the charges of one that was
        not made.

        Returns whether the store did it. If the store was unreachable, the places expire with their windows.
        """
        if not keys and not charges:
            return True
        self._local.release(keys, member)
        self._local.refund(charges, charge)
        names = [*map(_stored_name, keys), *map(_spend_name, charges)]
        try:
            await self._call(self._release, names, [member, len(keys), charge])
        except STORE_LOST:
            return False
        return True

    async def count(
        self, keys: Sequence[LimitKey], charges: Sequence[Charge] = ()
    ) -> tuple[list[Count], list[int]]:
        """The places taken under each limit, and what was spent under each cap today, in millionths.

        Changes nothing. Raises one of STORE_LOST.
        """
        if not keys and not charges:
            return [], []
        arguments: list[int] = [len(keys)]
        for key in keys:
            arguments += [key.max, _milliseconds(key.per_s)]
        names = [*map(_stored_name, keys), *map(_spend_name, charges)]
        found: list[int] = await self._call(self._count, names, arguments)
        places, spent = found[: 2 * len(keys)], found[2 * len(keys) :]
        counts = [
            Count(taken, free_at_ms / 1000 if free_at_ms else None)
            for taken, free_at_ms in zip(places[::2], places[1::2], strict=True)
        ]
        return counts, spent

    async def take(self, provider: str, rate_per_s: float, tenant: str, weight: int = 1) -> float:
        """Take a token from the provider's bucket. Returns 0.0, or the seconds until there is one.

        The bucket holds the tokens of one second (at least one). Tenants that ask at the same time share it
        by their weights. While the store is unreachable there is always a token: the provider itself limits
        with a 429.
        """
        bucket = f"{_SPACE}:rate:{provider}"
        arguments = [rate_per_s, max(1.0, rate_per_s), tenant, weight, CONTENDS_US]
        try:
            wait_us = await self._call(
                self._take, [bucket, *(f"{bucket}:{part}" for part in _SHARED)], arguments
            )
        except STORE_LOST:
            return 0.0
        return wait_us / 1_000_000

    async def give_back(self, provider: str) -> None:
        """Put a token that was taken and not used back into the provider's bucket. If the store is
        unreachable, it is lost.
        """
        with suppress(*STORE_LOST):
            await self._call(self._give_back, [f"{_SPACE}:rate:{provider}"], [])

    async def lease(
        self, name: str, per_s: float, capacity: float, owed: float, wanted: int
    ) -> tuple[int, int, float]:
        """Take the tokens owed from a bucket, and lease others ahead; returns those leased, those left
        (negative: owed), and the seconds until there is another if fewer than wanted were leased.

        Raises one of STORE_LOST.
        """
        leased, left, wait_us = await self._call(
            self._lease, [f"{_SPACE}:lease:{name}"], [per_s, capacity, owed, wanted]
        )
        return leased, left, wait_us / 1_000_000

    async def ping(self) -> None:
        """Check that the store responds. Raises one of STORE_LOST if it does not respond in time."""
        async with asyncio.timeout(self._timeout_s):
            await self._client.ping()

    async def aclose(self) -> None:
        """Close the connections to the store."""
        await self._pipeline.aclose()
        await self._client.aclose()

    async def _call(
        self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Any:
        try:
            answer = await self._pipeline.call(script, keys, arguments)
        except STORE_LOST:
            if self._lost_since is None:
                self._lost_since = self._clock()
            raise
        self._lost_since = None
        return answer

    def _without_store(
        self,
        keys: Sequence[LimitKey],
        member: str,
        on_loss: OnLoss,
        charges: Sequence[Charge],
        charge: str,
    ) -> Reservation:
        now = self._clock()
        lost_s = now - self._lost_since if self._lost_since is not None else 0.0
        again = now + min(max(lost_s, RETRY_S_MIN), RETRY_S_MAX)
        if on_loss is OnLoss.WAIT:
            return Reservation(False, again, store_lost=True, denied=tuple(keys), over=tuple(charges))
        over = self._local.over(charges, charge, now)
        full = self._local.full(keys, member, now)
        if full or over:
            return Reservation(False, again, store_lost=True, denied=full, over=over)
        self._local.reserve(keys, member, now)
        self._local.spend(charges, charge, now)
        return Reservation(True, store_lost=True)


def redis_url(url: str) -> str:
    """The URL with a scheme that redis-py accepts. Raises ValueError for a URL of another kind."""
    scheme, separator, rest = url.partition("://")
    scheme = _SCHEMES.get(scheme, scheme)
    if not separator or scheme not in _SCHEMES.values():
        raise ValueError(
            "the limiter's store needs a URL such as valkey://127.0.0.1:6379/0 or "
            "redis://127.0.0.1:6379/0 (valkeys:// and rediss:// for TLS)"
        )
    return f"{scheme}://{rest}"


def _stored_name(key: LimitKey) -> str:
    # The window is part of the name: limits with the same name and another window must not evict each other.
    return f"{_SPACE}:{key.name}:{_milliseconds(key.per_s)}"


def _spend_name(charge: Charge) -> str:
    return f"{_SPACE}:{charge.name}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
