"""Limits as `herald.toml` configures them: per user and type, over all users, and on what SMS cost."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from domain.access import is_tenant
from domain.countries import is_region
from domain.notification import ADDRESS_KINDS, AddressKind, Channel, Lane

SECONDS_MAX: Final = 10 * 366 * 86_400
"""Ten years: no store and no timer can count infinitely long."""
Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX)]
PerSecond = Annotated[float, Field(gt=0, le=10_000_000)]


class OnLimit(StrEnum):
    """What happens to a notification above its limit."""

    DROP = "drop"
    DEFER = "defer"


class Limit(BaseModel):
    """At most `max` deliveries over `channel` to one user in `per_s` seconds.

    Types that name the same `group` share one count; without a group a type counts by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel
    max: Annotated[int, Field(gt=0, le=1000)]
    per_s: Seconds
    then: OnLimit = OnLimit.DROP
    group: str | None = None


class By(StrEnum):
    """What a limit over all users counts by."""

    TENANT = "tenant"
    COUNTRY = "country"
    """The country of the number; numbers without one count together."""
    PREFIX = "prefix"
    """The number without its last digits: a range of numbers, as SMS pumping uses them."""
    ADDRESS = "address"
    """The number or email address itself."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


NO_COUNTRY: Final = "ZZ"
"""What numbers without a country count under."""
BY_SEPARATOR: Final = "/"
"""Joins the values that a limit counts by, as in `bank/NG`. No tenant and no country contains it."""


def _check_max_of(max_of: Mapping[str, object], by: tuple[By, ...]) -> None:
    """Raise ValueError for a value that nothing counts under."""
    if not max_of:
        return
    if not by or not set(by) <= {By.TENANT, By.COUNTRY}:
        raise ValueError("`max_of` needs `by`: tenant, country, or both")
    for value in max_of:
        parts = value.split(BY_SEPARATOR)
        if len(parts) != len(by) or not all(map(_can_be, by, parts)):
            form = BY_SEPARATOR.join({By.TENANT: "bank", By.COUNTRY: "NG"}[part] for part in by)
            raise ValueError(
                f"`max_of`: {value!r} never applies. By {' and '.join(by)}, a value looks like {form!r}; "
                f"a country has two capital letters (ISO 3166), or is {NO_COUNTRY!r} for numbers without one"
            )


def _can_be(by: By, text: str) -> bool:
    """Whether a tenant or a country may be called this."""
    return is_tenant(text) if by is By.TENANT else is_region(text) or text == NO_COUNTRY


class SharedLimit(BaseModel):
    """At most `max` deliveries over `channel` in `per_s` seconds, over all users: of each address, number
    prefix, country or tenant, or each combination of them.

    Only types in one of `lanes`, or named in `types`, count; without either, all do. A submission cannot
    leave a limit by choosing another lane: the type's own lane is compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel = Channel.SMS
    by: Annotated[tuple[By, ...], BeforeValidator(_as_list), Field(min_length=1)]
    lanes: tuple[Lane, ...] = ()
    types: tuple[str, ...] = ()
    max: Annotated[int, Field(gt=0, le=1_000_000)]
    max_of: dict[str, Annotated[int, Field(gt=0, le=1_000_000)]] = Field(default_factory=dict[str, int])
    """Another `max` for some values, such as `{ NG = 5000 }`, or `{ "bank/NG" = 5000 }` by tenant and
    country.
    """
    per_s: Seconds
    then: OnLimit = OnLimit.DROP
    digits: Annotated[int, Field(ge=1, le=8)] = 3
    """How many of the last digits a prefix leaves out."""

    @model_validator(mode="after")
    def _is_countable(self) -> "SharedLimit":
        if len(set(self.by)) < len(self.by):
            raise ValueError("`by` names a value twice")
        kind = ADDRESS_KINDS[self.channel]
        countable = {By.TENANT}
        if kind is not AddressKind.TOKEN:
            countable.add(By.ADDRESS)
        if kind is AddressKind.PHONE:
            countable |= {By.COUNTRY, By.PREFIX}
        if wrong := set(self.by) - countable:
            raise ValueError(f"a limit on {self.channel} cannot count by {', '.join(sorted(wrong))}")
        _check_max_of(self.max_of, self.by)
        return self

    def covers(self, type_name: str, lane: Lane, channel: Channel) -> bool:
        """Whether a type, whose own lane is `lane`, counts on a channel."""
        chosen = not (self.lanes or self.types) or lane in self.lanes or type_name in self.types
        return channel is self.channel and chosen

    def max_for(self, value: str) -> int:
        """The maximum of a value, such as `NG` or `bank/NG`."""
        return self.max_of.get(value, self.max)


DEFAULT_LIMITS: Final = (
    SharedLimit(by=(By.TENANT, By.ADDRESS), lanes=(Lane.CRITICAL,), max=10, per_s=3600),
    SharedLimit(by=(By.TENANT, By.ADDRESS), lanes=(Lane.CRITICAL,), max=20, per_s=86_400),
    SharedLimit(by=(By.TENANT, By.PREFIX), lanes=(Lane.CRITICAL,), max=100, per_s=3600),
)
"""For one-time passwords, which strangers can request for any number. Other types are not counted."""


class SpendCap(BaseModel):
    """At most `max` may be spent on SMS in a calendar day (UTC), by the configured prices.

    It counts what is sent through providers whose prices have this currency.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Annotated[tuple[By, ...], BeforeValidator(_as_list)] = ()
    """Of each tenant, each country, or each combination; empty: of the installation."""
    max: Annotated[Decimal, Field(gt=0, max_digits=15, decimal_places=6)]
    max_of: dict[str, Annotated[Decimal, Field(gt=0, max_digits=15, decimal_places=6)]] = Field(
        default_factory=dict[str, Decimal]
    )
    """Another `max` for some values, as in a SharedLimit."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    then: OnLimit = OnLimit.DROP
    """`defer`: until the next day, or drop it if it expires before."""

    @model_validator(mode="after")
    def _is_countable(self) -> "SpendCap":
        if not set(self.by) <= {By.TENANT, By.COUNTRY} or len(set(self.by)) < len(self.by):
            raise ValueError("a spend cap counts by tenant, country, both, or neither")
        _check_max_of(self.max_of, self.by)
        return self

    def max_for(self, value: str) -> Decimal:
        """The maximum of a value, such as `NG` or `bank/NG`."""
        return self.max_of.get(value, self.max)


def value_of(by: tuple[By, ...], known: Mapping[By, str]) -> str | None:
    """The value that a limit counts by, such as `bank/NG`; None if a part of it is not known."""
    if any(part not in known for part in by):
        return None
    return BY_SEPARATOR.join(known[part] for part in by)
