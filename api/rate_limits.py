"""How many requests a tenant, a key and an address may send (429).

Rates of tenants and keys are leased from the shared store (ratelimit.leases), and no request waits for it.
Those of addresses are counted in this process: requests without a key must not cost the store anything.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from time import monotonic
from typing import Final, NamedTuple

from starlette.types import Scope

from api.client_address import ClientAddresses
from api.problems import Problem
from domain.access import Caller
from domain.api_limits import ApiPolicy
from ratelimit.leases import Bucket, TokenLeases

ADDRESSES_MAX: Final = 10_000
CALLERS_MAX: Final = 10_000

Header = tuple[bytes, bytes]
_NO_FIELDS: Final[list[Header]] = []


class _Limit(NamedTuple):
    name: str
    bucket: Bucket


class RateLimits:
    """The limits of one API process. `refused` counts what was refused, by reason."""

    def __init__(
        self,
        policy: ApiPolicy,
        leases: TokenLeases,
        addresses: ClientAddresses,
        refused: Callable[[str], None],
    ) -> None:
        self._policy = policy
        self._leases = leases
        self._addresses = addresses
        self._refused = refused
        self._by_caller: OrderedDict[str, tuple[_Limit, ...]] = OrderedDict()
        self._requests = _AddressRates(policy.address_per_s, policy.address_per_s * policy.burst_s)
        self._key_failures = _per_minute(policy.key_failures_per_minute)
        self._callback_failures = _per_minute(policy.callback_failures_per_minute)

    def check_address(self, scope: Scope) -> None:
        """Count a request of an address. Raises Problem (429)."""
        if wait_s := self._requests.take(self._addresses.of(scope)):
            self._refused("address_rate")
            raise _too_many("too_many_requests", "Too many requests come from this address.", wait_s)

    def check(self, caller: Caller) -> None:
        """Count a request of a key and of its tenant. Raises Problem (429)."""
        for limit in self._limits(caller):
            if wait_s := self._leases.take(limit.bucket):
                self._refused(f"{limit.name}_rate")
                detail = f"The {limit.name} sends more than {limit.bucket.per_s:g} requests per second."
                raise _too_many("too_many_requests", detail, wait_s, self._fields(caller))

    def charge(self, caller: Caller, further: int) -> None:
        """Count a batch that was admitted as one request: what it costs beyond that is owed."""
        for limit in self._limits(caller):
            self._leases.charge(limit.bucket, further)

    def fields(self, caller: Caller) -> list[Header]:
        """Return the RateLimit fields for a response; none while more than half of every limit is left."""
        for limit in self._limits(caller):
            if limit.bucket.is_scarce:
                fields = self._fields(caller)
                return [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        return _NO_FIELDS

    def is_failing(self, scope: Scope) -> bool:
        """Return whether this address sent too many wrong keys: another one is not even looked up."""
        return self._key_failures.are_counted and self._key_failures.is_full(self._addresses.of(scope))

    def key_failed(self, scope: Scope) -> None:
        """Count a wrong API key. Raises Problem (429) if its address sent too many."""
        self._failed(self._key_failures, scope, "key_failures", "Too many wrong API keys")

    def callback_failed(self, scope: Scope) -> None:
        """Count a wrong signature. Raises Problem (429) if its address sent too many."""
        self._failed(self._callback_failures, scope, "callback_failures", "Too many wrong signatures")

    def _failed(self, failures: "_AddressRates", scope: Scope, reason: str, what: str) -> None:
        if wait_s := failures.take(self._addresses.of(scope)):
            self._refused(reason)
            raise _too_many("too_many_failures", f"{what} come from this address.", wait_s)

    def _limits(self, caller: Caller) -> tuple[_Limit, ...]:
        found = self._by_caller.get(caller.key)
        if found is None:
            found = self._by_caller[caller.key] = self._new_limits(caller)
            if len(self._by_caller) > CALLERS_MAX:
                self._by_caller.popitem(last=False)
        return found

    def _new_limits(self, caller: Caller) -> tuple[_Limit, ...]:
        rates = [("key", caller.key, self._policy.key_per_s)]
        if caller.tenant is not None:
            rates.append(("tenant", caller.tenant, self._policy.tenant_rate(caller.tenant)))
        return tuple(
            _Limit(kind, self._leases.bucket(f"{kind}:{name}", per_s, max(1.0, per_s * self._policy.burst_s)))
            for kind, name, per_s in rates
        )

    def _fields(self, caller: Caller) -> dict[str, str]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers-10."""
        policies: list[str] = []
        states: list[str] = []
        for name, bucket in self._limits(caller):
            remaining = bucket.remaining
            policies.append(f'"{name}";q={int(bucket.capacity)};w={ceil(bucket.capacity / bucket.per_s)}')
            states.append(f'"{name}";r={remaining};t={ceil((bucket.capacity - remaining) / bucket.per_s)}')
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


class _AddressRates:
    """Token buckets by address, in this process: at most ADDRESSES_MAX, the oldest one goes."""

    def __init__(self, per_s: float, capacity: float) -> None:
        self._per_s = per_s
        self._capacity = max(1.0, capacity)
        self._buckets: dict[str, list[float]] = {}

    @property
    def are_counted(self) -> bool:
        """Whether any address has been counted."""
        return bool(self._buckets)

    def take(self, address: str) -> float:
        """Take a token. Returns 0.0, or the seconds until there is one."""
        bucket = self._refilled(address)
        if bucket[0] < 1:
            return (1 - bucket[0]) / self._per_s
        bucket[0] -= 1
        return 0.0

    def is_full(self, address: str) -> bool:
        """Return whether the address has no token."""
        return address in self._buckets and self._refilled(address)[0] < 1

    def _refilled(self, address: str) -> list[float]:
        """Return the tokens of an address, and when they were counted."""
        now = monotonic()
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= ADDRESSES_MAX:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[address] = [self._capacity, now]
        tokens = bucket[0] + (now - bucket[1]) * self._per_s
        bucket[0] = tokens if tokens < self._capacity else self._capacity
        bucket[1] = now
        return bucket


def _per_minute(count: float) -> _AddressRates:
    return _AddressRates(count / 60, count)


def _too_many(code: str, detail: str, wait_s: float, fields: dict[str, str] | None = None) -> Problem:
    headers = {"Retry-After": str(ceil(wait_s)), **(fields or {})}
    return Problem(429, code, f"{detail} Retry after {ceil(wait_s)} s.", headers=headers)
