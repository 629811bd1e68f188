"""The country of a phone number, and look-ups in tables by country."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, TypeVar

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    SUPPORTED_REGIONS,
    NumberParseException,
    parse,
    region_code_for_number,
)
from pydantic import AfterValidator, BeforeValidator

Value = TypeVar("Value")

_DIGITS_MAX = 15
_CALLING_CODES = {f"+{code}": code for code in COUNTRY_CODE_TO_REGION_CODE}


def _upper(text: object) -> object:
    return str(text).upper() if isinstance(text, str | int) else text


def is_region(text: str) -> bool:
    """Whether these are the two letters of a country whose numbers are known."""
    return text in SUPPORTED_REGIONS


def _region(text: str) -> str:
    if not is_region(text):
        raise ValueError("expected a country as two letters (ISO 3166), such as NG")
    return text


def _country_key(text: str) -> str:
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= _DIGITS_MAX:
        return text
    if text not in SUPPORTED_REGIONS:
        raise ValueError(
            "expected a country as two letters (ISO 3166), such as NG, or the first digits of numbers "
            "with their calling code, such as 234"
        )
    return text


Region = Annotated[str, BeforeValidator(_upper), AfterValidator(_region)]
"""A country by its two letters (ISO 3166)."""

CountryKey = Annotated[str, BeforeValidator(_upper), AfterValidator(_country_key)]
"""A country by its two letters, or the first digits of numbers, calling code included."""


def region_of(number: str) -> str | None:
    """The two letters of an E.164 number's country; None if it has no country or the country is ambiguous.

    Countries that share a calling code (+1, +7, +44) are distinguished by libphonenumber's ranges.
    """
    split = split_number(number)
    if split is None:
        return None
    region, *others = COUNTRY_CODE_TO_REGION_CODE[split[0]]
    if others:
        return _region_by_range(number)
    return region if region in SUPPORTED_REGIONS else None


def split_number(number: str) -> tuple[int, str] | None:
    """An E.164 number's calling code, and the digits behind it; None if it begins with no calling code."""
    # No calling code is the beginning of another.
    for end in (2, 3, 4):
        code = _CALLING_CODES.get(number[:end])
        if code is not None:
            return code, number[end:]
    return None


# Parsing takes 20 µs, and a delivery asks several times.
@lru_cache(maxsize=4096)
def _region_by_range(number: str) -> str | None:
    try:
        region = region_code_for_number(parse(number, None))
    except NumberParseException:
        return None
    return region if region in SUPPORTED_REGIONS else None


def key_for(number: str, table: Mapping[str, Value]) -> str | None:
    """The key of a table by CountryKey that matches an E.164 number; None if no key matches.

    A country takes precedence over digits, and the longest matching digits over shorter ones.
    """
    if not table:
        return None
    region = region_of(number)
    if region is not None and region in table:
        return region
    digits = number.removeprefix("+")
    return max((key for key in table if key.isdigit() and digits.startswith(key)), key=len, default=None)
