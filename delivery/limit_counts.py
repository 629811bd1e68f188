"""What is counted under the limits and spend caps now, for operators."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from domain.access import is_test
from domain.limit_policy import BY_SEPARATOR, By, SpendCap
from domain.masking import mask
from domain.notification import Channel, Lane
from domain.notification_types import Catalog
from ratelimit.keys import PER_USER, Charge, LimitKey, SharedKeys, charge_of, known_of, limit_keys, money
from ratelimit.limiter import Limiter


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose limits are asked for. What is None is not shown, except that the countries are those that SMS may
    go to. `shared`: also those that count every tenant's messages together.
    """

    tenant: str
    channel: Channel
    user_id: str | None = None
    address: str | None = None
    country: str | None = None
    shared: bool = True


@dataclass(frozen=True, slots=True)
class LimitCount:
    """A limit and the places that are taken under it. `of` is what it counts; an address is masked.

    `types` and `lanes`: those that count; both empty: all. `free_at`: when a place becomes free, None if
    there is one.
    """

    by: tuple[str, ...]
    of: str
    types: tuple[str, ...]
    lanes: tuple[Lane, ...]
    max: int
    per_s: float
    then: str
    taken: int = 0
    free_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SpendCount:
    """A spend cap, and what is reserved of it today (UTC). Amounts are decimal texts."""

    by: tuple[str, ...]
    of: str
    max: str
    currency: str
    then: str
    spent: str


class LimitCounts:
    """Reads the counts of an installation."""

    def __init__(self, limiter: Limiter, catalog: Catalog, secret: str) -> None:
        """`secret`: the installation's, under which addresses are named in the store."""
        self._limiter = limiter
        self._catalog = catalog
        self._shared = SharedKeys(secret)

    async def of(self, asked: Asked) -> tuple[list[LimitCount], list[SpendCount]]:
        """The limits of a channel and, for SMS, the caps. Raises one of ratelimit.limiter.STORE_LOST."""
        limits = [*self._per_user(asked), *self._over_users(asked)]
        caps = list(self._caps(asked))
        counts, spent = await self._limiter.count([key for key, _ in limits], [charge for charge, _ in caps])
        return (
            [
                replace(
                    limit,
                    taken=count.taken,
                    free_at=datetime.fromtimestamp(count.free_at_s, UTC) if count.free_at_s else None,
                )
                for (_, limit), count in zip(limits, counts, strict=True)
            ],
            [
                SpendCount(
                    cap.by, charge.value, money(charge.max_micros), cap.currency, cap.then, money(micros)
                )
                for (charge, cap), micros in zip(caps, spent, strict=True)
            ],
        )

    def _per_user(self, asked: Asked) -> Iterator[tuple[LimitKey, LimitCount]]:
        """The user's limits by key. Types of a group share one."""
        if asked.user_id is None:
            return
        types: dict[LimitKey, list[str]] = {}
        for name, type in self._catalog.types.items():
            for key in limit_keys(asked.tenant, asked.user_id, name, type, asked.channel):
                types.setdefault(key, []).append(name)
        for key, names in types.items():
            yield key, _uncounted(key, (PER_USER,), asked.user_id, tuple(names))

    def _over_users(self, asked: Asked) -> Iterator[tuple[LimitKey, LimitCount]]:
        # As in delivery.limits: test keys' messages count under their users' limits only.
        limits = () if is_test(asked.tenant) else self._catalog.limits
        for limit in limits:
            if limit.channel is not asked.channel or not (asked.shared or By.TENANT in limit.by):
                continue
            for known in self._known(asked, limit.by):
                of = _shown(limit.by, known, asked)
                for key in self._shared.limits((limit,), known):
                    yield key, _uncounted(key, limit.by, of, limit.types, limit.lanes)

    def _caps(self, asked: Asked) -> Iterator[tuple[Charge, SpendCap]]:
        if asked.channel is not Channel.SMS:
            return
        for cap in self._catalog.sms.of(asked.tenant).spend:
            if not (asked.shared or By.TENANT in cap.by):
                continue
            for known in self._known(asked, cap.by):
                if charge := charge_of(cap, known, Decimal(0)):
                    yield charge, cap

    def _known(self, asked: Asked, by: Sequence[By]) -> Iterator[dict[By, str]]:
        """The values to count by: one set, or one for each country if none is asked for."""
        known = known_of(asked.tenant, asked.channel, asked.address)
        if asked.country is not None:
            known.setdefault(By.COUNTRY, asked.country)
        countries = self._catalog.sms.countries
        if By.COUNTRY in by and By.COUNTRY not in known and isinstance(countries, tuple):
            yield from ({**known, By.COUNTRY: country} for country in countries)
        else:
            yield known


def _uncounted(
    key: LimitKey, by: tuple[str, ...], of: str, types: tuple[str, ...], lanes: tuple[Lane, ...] = ()
) -> LimitCount:
    return LimitCount(by, of, types, lanes, key.max, key.per_s, key.then)


def _shown(by: Sequence[By], known: dict[By, str], asked: Asked) -> str:
    """What a limit counts, with the address masked."""
    hidden = mask(asked.channel, asked.address) if asked.address else ""
    return BY_SEPARATOR.join(
        hidden if part in (By.ADDRESS, By.PREFIX) else known[part] for part in by if part in known or hidden
    )
