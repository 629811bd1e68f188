"""The names of limits in the store: one for each value that is counted, and no address in clear."""

from decimal import Decimal

import pytest

from domain.contacts import normalise_phone
from domain.limit_policy import By, SharedLimit, SpendCap
from domain.notification import Channel
from ratelimit.keys import LimitKey, SharedKeys, charge_of, known_of

NUMBER, NEIGHBOUR, OTHER = "+2348031236789", "+2348031236012", "+2348031299999"
KEYS = SharedKeys("secret")


def key(limit: SharedLimit, address: str = NUMBER, tenant: str = "bank", keys: SharedKeys = KEYS) -> LimitKey:
    [found] = keys.limits((limit,), known_of(tenant, limit.channel, address))
    return found


def limit(*by: By, channel: Channel = Channel.SMS, **changes: object) -> SharedLimit:
    return SharedLimit.model_validate({"channel": channel, "by": by, "max": 3, "per_s": 60, **changes})


def test_no_part_of_a_number_is_in_a_name() -> None:
    for by in ((By.ADDRESS,), (By.PREFIX,), (By.TENANT, By.ADDRESS), (By.TENANT, By.PREFIX)):
        assert "234" not in key(limit(*by)).name.replace(key(limit(*by)).name.split(":")[1], "")
        # A digest without the secret would be found by trying all numbers.
        assert key(limit(*by)).name != key(limit(*by), keys=SharedKeys("another")).name


@pytest.mark.parametrize(
    ("by", "same", "differ"),
    [
        ((By.ADDRESS,), [("bank", NUMBER), ("shop", NUMBER)], [("bank", NEIGHBOUR)]),
        ((By.TENANT, By.ADDRESS), [("bank", NUMBER)], [("shop", NUMBER), ("bank", NEIGHBOUR)]),
        ((By.PREFIX,), [("bank", NEIGHBOUR), ("shop", NUMBER)], [("bank", OTHER)]),
        ((By.COUNTRY,), [("bank", OTHER), ("shop", NUMBER)], [("bank", "+233244123456")]),
        ((By.TENANT, By.COUNTRY), [("bank", OTHER)], [("shop", NUMBER), ("bank", "+447400123456")]),
        ((By.TENANT,), [("bank", "+447400123456")], [("shop", NUMBER)]),
    ],
)
def test_each_value_has_its_own_count(
    by: tuple[By, ...], same: list[tuple[str, str]], differ: list[tuple[str, str]]
) -> None:
    name = key(limit(*by)).name
    assert {key(limit(*by), number, tenant).name for tenant, number in same} == {name}
    assert name not in {key(limit(*by), number, tenant).name for tenant, number in differ}


def test_limits_that_count_other_types_or_prefixes_do_not_share() -> None:
    names = [
        key(each).name
        for each in (
            limit(By.PREFIX),
            limit(By.PREFIX, digits=4),
            limit(By.PREFIX, lanes=["critical"]),
            limit(By.PREFIX, types=["otp"]),
            limit(By.ADDRESS),
            limit(By.ADDRESS, channel=Channel.WHATSAPP),
        )
    ]
    assert len(set(names)) == len(names)


def test_numbers_without_a_country_count_together() -> None:
    found = [
        charge_of(cap, known_of("bank", Channel.SMS, number), Decimal(1))
        for cap in [SpendCap(by=(By.COUNTRY,), max=Decimal(5), currency="USD")]
        for number in ("+881612345678", "+979912345678")
    ]
    assert {charge.value for charge in found if charge} == {"ZZ"}


def test_a_spelling_of_an_email_address_does_not_evade_its_limit() -> None:
    mail = limit(By.ADDRESS, channel=Channel.EMAIL)
    assert key(mail, "Ada@Example.com") == key(mail, "ada@example.com")


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.WHATSAPP])
@pytest.mark.parametrize(
    ("number", "without_9"),
    [
        ("+5491123456789", "+541123456789"),
        ("+5492944123456", "+542944123456"),
        ("+5511987654321", "+551187654321"),
    ],
)
def test_a_phone_that_has_two_numbers_counts_once(channel: Channel, number: str, without_9: str) -> None:
    assert normalise_phone(number) != normalise_phone(without_9)
    for by in ((By.ADDRESS,), (By.TENANT, By.PREFIX)):
        assert key(limit(*by, channel=channel), number) == key(limit(*by, channel=channel), without_9)


@pytest.mark.parametrize(
    ("number", "other"),
    [
        # A fixed line in Brazil, numbers that begin with 9, and 9s in other countries.
        ("+5511923456789", "+551123456789"),
        ("+5511987654321", "+5511997654321"),
        ("+525598765432", "+525587654321"),
        ("+5491123456789", "+5491123456780"),
    ],
)
def test_different_phones_count_apart(number: str, other: str) -> None:
    assert key(limit(By.ADDRESS), number) != key(limit(By.ADDRESS), other)


def test_what_is_not_known_is_not_counted() -> None:
    limits = (limit(By.TENANT), limit(By.TENANT, By.ADDRESS), limit(By.PREFIX))
    assert len(KEYS.limits(limits, known_of("bank", Channel.SMS, None))) == 1


def test_money_is_rounded_up_to_millionths() -> None:
    cap = SpendCap(max=Decimal("0.5"), currency="USD")
    charge = charge_of(cap, known_of("bank", Channel.SMS, NUMBER), Decimal("0.00000015"))
    assert charge
    assert (charge.micros, charge.max_micros) == (1, 500_000)
