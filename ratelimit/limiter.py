"""Limits per user and rates per provider, kept in Valkey (or Redis) by atomic scripts."""

import asyncio
import time
from collections.abc import Callable, Sequence
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
from ratelimit.keys import LimitKey
from ratelimit.round_trips import RoundTrips

STORE_TIMEOUT_S = 0.25
"""The longest that a delivery waits for the store; a slower one counts as lost."""

ASK_AGAIN_S_MIN = 1.0
ASK_AGAIN_S_MAX = 10.0
"""One that may not pass unchecked asks a lost store again after as long as that has been lost: a moment's
silence costs a moment, a long outage few questions.
"""

_SPACE = "{herald:limit}"
"""One hash tag for all keys: the scripts read the sentinel beside the limits, so they share a slot."""

_SENTINEL = f"{_SPACE}:since"
_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_LUA = Path(__file__).parent
STORE_LOST = (RedisError, OSError, TimeoutError)
"""What says that the store did not answer."""


class OnLoss(StrEnum):
    """What a delivery does when the counts were lost or cannot be reached."""

    PASS = "pass"  # noqa: S105 (a policy, not a secret)
    """It goes out, bounded by what was counted since, or by this process alone: critical types."""
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Reservation:
    """The answer to a reservation.

    `free_at_s`, in seconds since 1970, is when to ask again; None when admitted. `store_lost` says that
    the counts were not complete: with `admitted` it passed on policy, without it has to wait, whatever
    its type does at its limit. `denied` holds the limits without a place.
    """

    admitted: bool
    free_at_s: float | None = None
    store_lost: bool = False
    denied: tuple[LimitKey, ...] = ()


class Limiter:
    """The limits of one installation. Any number of processes share them through the store."""

    def __init__(
        self, client: Redis, *, timeout_s: float = STORE_TIMEOUT_S, clock: Callable[[], float] = time.time
    ) -> None:
        """Over a client that retries nothing by itself (see `connect`).

        `clock`, in seconds since 1970, is used for what is counted while the store is away, and for
        nothing else.
        """
        self._client = client
        self._timeout_s = timeout_s
        self._clock = clock
        self._local = LocalCounts()
        self._lost_since: float | None = None
        self._trips = RoundTrips(client, timeout_s)
        self._reserve = client.register_script((_LUA / "reserve.lua").read_text())
        self._release = client.register_script((_LUA / "release.lua").read_text())
        self._take = client.register_script((_LUA / "bucket.lua").read_text())

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = STORE_TIMEOUT_S) -> Self:
        """A limiter over the store at a `redis://`, `rediss://`, `valkey://` or `valkeys://` address.

        Nothing is connected yet. Raises ValueError for another scheme.
        """
        client = Redis.from_url(
            redis_url(url),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # A repeated command would double the wait, and a caller has better things to do.
            retry=Retry(NoBackoff(), 0),
        )
        return cls(client, timeout_s=timeout_s)

    async def establish(self) -> None:
        """Declare that the store's counts are complete, though it may be empty.

        Only for an installation whose ledger holds no attempt yet (or none within the longest limit):
        it tells a store that is empty from one that was flushed. Raises RedisError, OSError or
        TimeoutError when the store is away; what was not declared counts as flushed.
        """
        async with asyncio.timeout(self._timeout_s):
            await self._client.set(_SENTINEL, 0)

    async def reserve(
        self, keys: Sequence[LimitKey], member: str, on_loss: OnLoss = OnLoss.WAIT
    ) -> Reservation:
        """Reserve a place for the member under every limit, or under none. Never raises for the store.

        A member that holds its place already is admitted and counts once, so a reservation may be
        repeated, and is to be repeated before every pass. A flushed store knows again what it needs
        when it has counted for the limit's own length; until then `on_loss` decides.
        """
        if not keys:
            return Reservation(admitted=True)
        arguments: list[str | int] = [member, 1 if on_loss is OnLoss.PASS else 0]
        for key in keys:
            arguments += [key.max, _milliseconds(key.per_s)]
        try:
            admitted, blind, free_at_ms, *positions = await self._call(
                self._reserve, [_SENTINEL, *map(_stored_name, keys)], arguments
            )
        except STORE_LOST:
            return self._without_store(keys, member, on_loss)
        return Reservation(
            admitted=bool(admitted),
            free_at_s=None if admitted else free_at_ms / 1000,
            store_lost=bool(blind),
            denied=tuple(keys[position - 1] for position in positions),
        )

    async def release(self, keys: Sequence[LimitKey], member: str) -> bool:
        """Give the member's places back: its delivery ended without a send.

        Returns whether the store took it; one that was away keeps the places until they age out.
        """
        if not keys:
            return True
        self._local.release(keys, member)
        try:
            await self._call(self._release, [_stored_name(key) for key in keys], [member])
        except STORE_LOST:
            return False
        return True

    async def take(self, provider: str, rate_per_s: float) -> float:
        """Take a token of the provider's bucket: 0.0, or the seconds until there is one.

        The bucket holds one second's tokens (at least one). With the store away there is always a
        token: a provider that has had enough says so itself, by a 429.
        """
        capacity = max(1.0, rate_per_s)
        try:
            wait_us = await self._call(self._take, [f"{_SPACE}:rate:{provider}"], [rate_per_s, capacity])
        except STORE_LOST:
            return 0.0
        return wait_us / 1_000_000

    async def ping(self) -> None:
        """Return once the store answers. Raises one of STORE_LOST if it does not answer in time."""
        async with asyncio.timeout(self._timeout_s):
            await self._client.ping()

    async def aclose(self) -> None:
        """Close the connections to the store."""
        await self._trips.aclose()
        await self._client.aclose()

    async def _call(
        self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Any:
        try:
            answer = await self._trips.call(script, keys, arguments)
        except STORE_LOST:
            if self._lost_since is None:
                self._lost_since = self._clock()
            raise
        self._lost_since = None
        return answer

    def _without_store(self, keys: Sequence[LimitKey], member: str, on_loss: OnLoss) -> Reservation:
        now = self._clock()
        lost_s = now - self._lost_since if self._lost_since is not None else 0.0
        again = now + min(max(lost_s, ASK_AGAIN_S_MIN), ASK_AGAIN_S_MAX)
        if on_loss is OnLoss.WAIT:
            return Reservation(False, again, store_lost=True, denied=tuple(keys))
        full = self._local.reserve(keys, member, now)
        return Reservation(not full, again if full else None, store_lost=True, denied=full)


def redis_url(url: str) -> str:
    """The address with a scheme that redis-py takes. Raises ValueError for one that is no store's."""
    scheme, separator, rest = url.partition("://")
    scheme = _SCHEMES.get(scheme, scheme)
    if not separator or scheme not in _SCHEMES.values():
        raise ValueError(
            "the limiter's store needs an address such as valkey://127.0.0.1:6379/0 or "
            "redis://127.0.0.1:6379/0 (valkeys:// and rediss:// for TLS)"
        )
    return f"{scheme}://{rest}"


def _stored_name(key: LimitKey) -> str:
    # The window is part of the name: limits of one name but different length must not evict each other's.
    return f"{_SPACE}:{key.name}:{_milliseconds(key.per_s)}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
