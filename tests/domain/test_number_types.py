"""Types of phone numbers: those that SMS do not go to; the quick check agrees with libphonenumber."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneNumberFormat,
    PhoneNumberType,
    example_number_for_type,
    format_number,
)

from domain.contacts import normalise_phone
from domain.number_types import REFUSED_BY_DEFAULT, NumberType, is_of_type, type_of
from domain.reasons import Reason
from domain.sms_policy import EVERYWHERE, SmsPolicy

PREMIUM = ("+37190012345", "+449098790000", "+19002345678", "+979912345678", "+33899123456", "+611900654321")
SHARED = ("+491801234567", "+33810123456", "+80812345678")
SATELLITE = ("+881612345678", "+870773111632", "+882161234567", "+883510001234567")
ORDINARY = (
    "+2348031236789",
    "+447400123456",
    "+14165550123",
    "+233244123456",
    "+37128123456",
    "+5531987654321",
)


@pytest.mark.parametrize("number", [*PREMIUM, *SHARED, *SATELLITE])
def test_numbers_that_cost_whoever_sends_to_them_are_refused(number: str) -> None:
    assert normalise_phone(number) == number
    assert EVERYWHERE.refusal_of(number) is Reason.NUMBER_TYPE_REFUSED
    assert SmsPolicy(countries="all", refuse_number_types=frozenset()).refusal_of(number) is None


@pytest.mark.parametrize("number", ORDINARY)
def test_ordinary_numbers_are_not(number: str) -> None:
    assert EVERYWHERE.refusal_of(number) is None


@pytest.mark.parametrize(
    ("number", "type"),
    [
        *((number, NumberType.PREMIUM_RATE) for number in PREMIUM),
        *((number, NumberType.SHARED_COST) for number in SHARED),
        *((number, NumberType.SATELLITE) for number in SATELLITE),
        ("+18005551234", NumberType.TOLL_FREE),
        ("+80012345678", NumberType.TOLL_FREE),
        ("+445600123456", NumberType.VOIP),
        ("+447012345678", NumberType.PERSONAL),
        ("+447640123456", NumberType.PAGER),
        ("+443001234567", NumberType.UAN),
        ("+390612345678", NumberType.FIXED_LINE),
        ("+2348031236789", NumberType.MOBILE),
        ("+14165550123", NumberType.FIXED_LINE_OR_MOBILE),
        ("+37191234567", NumberType.UNKNOWN),
        ("+9990000000", NumberType.UNKNOWN),
    ],
)
def test_types_follow_the_numbering_plans(number: str, type: NumberType) -> None:
    assert type_of(number) is type
    assert is_of_type(number, frozenset({type}))
    assert not is_of_type(number, frozenset(NumberType) - {type})


def _examples() -> list[str]:
    """A number of each type in each country, as libphonenumber's metadata has them."""
    types = [value for value in vars(PhoneNumberType).values() if isinstance(value, int)]
    regions = sorted({region for found in COUNTRY_CODE_TO_REGION_CODE.values() for region in found})
    found = (example_number_for_type(region, type) for region in regions for type in types)
    return sorted({format_number(number, PhoneNumberFormat.E164) for number in found if number})


EXAMPLES = _examples()
TYPE_SETS = st.sampled_from(
    [REFUSED_BY_DEFAULT, *(frozenset({type}) for type in NumberType), frozenset(NumberType)]
)


def test_the_quick_check_agrees_on_an_example_of_every_type_in_every_country() -> None:
    assert len(EXAMPLES) > 900
    wrong = [
        (number, sorted(types))
        for number in EXAMPLES
        for types in (REFUSED_BY_DEFAULT, frozenset({NumberType.VOIP, NumberType.UAN}))
        if is_of_type(number, types) != (type_of(number) in types)
    ]
    assert wrong == []


@pytest.mark.parametrize("prefix", ["0", "00", "8", "1", "06"])
def test_a_prefix_hides_no_type(prefix: str) -> None:
    """Numbers that were stored with one: `normalise_phone` refuses or removes it today."""
    hidden = [
        number
        for example in EXAMPLES
        for code in [example_code(example)]
        for number in [f"+{code}{prefix}{example[1 + len(code) :]}"[:16]]
        if is_of_type(number, REFUSED_BY_DEFAULT) != (type_of(number) in REFUSED_BY_DEFAULT)
    ]
    assert hidden == []


def example_code(number: str) -> str:
    return next(number[1:end] for end in (2, 3, 4) if int(number[1:end]) in COUNTRY_CODE_TO_REGION_CODE)


@given(st.sampled_from(EXAMPLES), st.integers(0, 9999), st.integers(0, 4), TYPE_SETS)
def test_the_quick_check_agrees_on_their_neighbours(
    example: str, tail: int, digits: int, types: frozenset[NumberType]
) -> None:
    number = example[: len(example) - digits] + f"{tail:04}"[:digits]
    assert is_of_type(number, types) == (type_of(number) in types)
