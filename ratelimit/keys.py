"""The limits that a delivery counts against."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from domain.contacts import counting_key
from domain.countries import region_of
from domain.limit_policy import NO_COUNTRY, By, OnLimit, SharedLimit, SpendCap, value_of
from domain.notification import ADDRESS_KINDS, AddressKind, Channel
from domain.notification_types import NotificationType

PER_USER = "user"
"""What a type's limits count by."""
MICROS = 1_000_000
"""The store counts money in millionths of the currency's unit, rounded up."""


@dataclass(frozen=True, slots=True)
class LimitKey:
    """A limit of at most `max` members in `per_s` seconds, counted under `name`."""

    name: str
    max: int
    per_s: float
    then: OnLimit = OnLimit.DROP
    """What the caller does with a delivery that exceeds the limit. The limiter ignores this and the rest."""
    by: str = PER_USER
    """`user`, or the parts of a limit over all users, as in `tenant and address`."""
    is_personal: bool = True
    """It counts one person's messages: reaching it is no sign of abuse of the installation."""

    def __str__(self) -> str:
        return f"{self.max} in {self.per_s:.0f} s per {self.by}"


@dataclass(frozen=True, slots=True)
class Charge:
    """What a send costs under a spend cap: `micros` of at most `max_micros` a day, counted under `name`."""

    name: str
    micros: int
    max_micros: int
    currency: str
    then: OnLimit = OnLimit.DROP
    by: str = ""
    value: str = ""
    """What the cap counts, such as `bank/NG`; empty: the installation."""

    def __str__(self) -> str:
        per = f" per {self.by}" if self.by else ""
        return f"{money(self.max_micros)} {self.currency} a day{per}"


class SharedKeys:
    """Names the limits over all users.

    An address or prefix is a digest under the installation's secret: a reader of the store cannot try all
    numbers. Tenants and countries are in clear.
    """

    def __init__(self, secret: str) -> None:
        self._secret = hashlib.sha256(secret.encode()).digest()

    def limits(self, limits: tuple[SharedLimit, ...], known: Mapping[By, str]) -> tuple[LimitKey, ...]:
        """The keys of those limits whose values are known (see `known_of`)."""
        return tuple(key for limit in limits if (key := self._limit(limit, known)))

    def _limit(self, limit: SharedLimit, known: Mapping[By, str]) -> LimitKey | None:
        if By.PREFIX in limit.by and By.ADDRESS in known:
            known = {**known, By.PREFIX: known[By.ADDRESS][: -limit.digits]}
        value = value_of(limit.by, known)
        if value is None:
            return None
        is_personal = By.ADDRESS in limit.by
        stored = self._digest(value) if is_personal or By.PREFIX in limit.by else value
        counted = ",".join(sorted((*limit.lanes, *limit.types))) or "all"
        by = "+".join(limit.by) + (f"-{limit.digits}" if By.PREFIX in limit.by else "")
        return LimitKey(
            name=f"{by}:{stored}:{counted}:{limit.channel}",
            max=limit.max_for(value),
            per_s=limit.per_s,
            then=limit.then,
            by=" and ".join(limit.by),
            is_personal=is_personal,
        )

    def _digest(self, value: str) -> str:
        return hashlib.blake2b(value.encode(), key=self._secret, digest_size=16).hexdigest()


def known_of(tenant: str, channel: Channel, address: str | None) -> dict[By, str]:
    """The values of a delivery that limits can count by. `address`: None for push, and if there is none."""
    known = {By.TENANT: tenant}
    if address is not None:
        known[By.ADDRESS] = counting_key(channel, address)
        if ADDRESS_KINDS[channel] is AddressKind.PHONE:
            known[By.COUNTRY] = region_of(address) or NO_COUNTRY
    return known


def charge_of(cap: SpendCap, known: Mapping[By, str], amount: Decimal) -> Charge | None:
    """The charge of an amount under a cap; None if what the cap counts by is not known."""
    value = value_of(cap.by, known)
    if value is None:
        return None
    return Charge(
        name=f"spend:{cap.currency}:{'+'.join(cap.by) or 'all'}:{value}",
        micros=_micros(amount),
        max_micros=_micros(cap.max_for(value)),
        currency=cap.currency,
        then=cap.then,
        by=" and ".join(cap.by),
        value=value,
    )


def money(micros: int) -> str:
    """An amount in millionths as a decimal text."""
    return f"{(Decimal(micros) / MICROS).normalize():f}"


def limit_keys(
    tenant: str, user_id: str, type_name: str, type: NotificationType, channel: Channel
) -> tuple[LimitKey, ...]:
    """The limits of a type on a channel for one user; empty if it has none.

    Types of one `group` share a name and so a count. The name has a digest of the user id: a client may use
    an address as the id, and addresses belong in the ledger only.
    """
    user = hashlib.sha256(f"{len(tenant)}:{tenant}{user_id}".encode()).hexdigest()[:32]
    return tuple(
        LimitKey(
            name=f"{user}:{f'group:{limit.group}' if limit.group else f'type:{type_name}'}:{channel}",
            max=limit.max,
            per_s=limit.per_s,
            then=limit.then,
        )
        for limit in type.limits
        if limit.channel == channel
    )


def _micros(amount: Decimal) -> int:
    return int((amount * MICROS).to_integral_value(ROUND_CEILING))
