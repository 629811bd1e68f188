"""Countries of phone numbers, and tables by country: routes, prices, allowed countries."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from pydantic import ValidationError

from domain.countries import key_for, region_of
from domain.notification_types import Catalog, Prices
from domain.reasons import Reason
from domain.sms_policy import EVERYWHERE, SmsPolicy

LAGOS, ACCRA, LONDON, TORONTO, CHICAGO = (
    *("+2348031236789", "+233244123456", "+447400123456", "+14165550123", "+13125550123"),
)


@pytest.mark.parametrize(
    ("number", "region"),
    [
        (LAGOS, "NG"),
        (ACCRA, "GH"),
        (LONDON, "GB"),
        (TORONTO, "CA"),
        (CHICAGO, "US"),
        # A satellite phone, and a number without a country code.
        ("+881612345678", None),
        ("+9990000000", None),
    ],
)
def test_numbers_have_a_country(number: str, region: str | None) -> None:
    assert region_of(number) == region


@pytest.mark.parametrize(
    ("table", "number", "key"),
    [
        ({}, LAGOS, None),
        ({"NG": 1}, LAGOS, "NG"),
        ({"NG": 1}, ACCRA, None),
        # The country goes before digits, and longer digits before shorter ones.
        ({"234803": 1, "NG": 2}, LAGOS, "NG"),
        ({"2": 1, "234803": 2, "234": 3, "2348099": 4}, LAGOS, "234803"),
        # Two countries with one calling code.
        ({"1": 1, "CA": 2}, TORONTO, "CA"),
        ({"1": 1, "CA": 2}, CHICAGO, "1"),
        ({"881": 1}, "+881612345678", "881"),
    ],
)
def test_the_country_goes_before_prefixes(table: Mapping[str, int], number: str, key: str | None) -> None:
    assert key_for(number, table) == key


def test_prices_by_country_are_exact() -> None:
    prices = Prices.model_validate(
        {"currency": "USD", "per_segment": 0.1, "by_country": {"ng": 0.0495, 1: 0.0083}}
    )
    assert [prices.of(number) for number in (LAGOS, CHICAGO, ACCRA)] == [
        *(Decimal("0.0495"), Decimal("0.0083"), Decimal("0.1")),
    ]
    assert Prices(currency="NGN").of(LAGOS) is None


@pytest.mark.parametrize(
    "prices",
    [
        {"currency": "usd"},
        {"currency": "USD", "per_segment": -1},
        {"currency": "USD", "by_country": {"Nigeria": 1}},
        {"currency": "USD", "by_country": {"0": 1}},
    ],
)
def test_invalid_prices_are_refused(prices: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Prices.model_validate(prices)


def test_sms_are_allowed_by_country() -> None:
    assert EVERYWHERE.refusal_of(ACCRA) is None
    assert SmsPolicy(countries=("NG", "US")).refusal_of(LAGOS) is None
    # With the calling code of an allowed country, and without a country.
    for number, countries in (
        *((ACCRA, ("NG", "US")), (TORONTO, ("US",)), ("+881612345678", ("US",)), (LAGOS, ())),
    ):
        assert SmsPolicy(countries=countries).refusal_of(number) is Reason.COUNTRY_NOT_ALLOWED
    # Without a decision no country is open.
    assert SmsPolicy().refusal_of(LAGOS) is Reason.COUNTRY_NOT_ALLOWED
    with pytest.raises(ValidationError, match="two letters"):
        Catalog.model_validate({"types": {}, "sms": {"countries": ["234"]}})
