"""The type of a phone number, and whether it is one that SMS are not sent to.

libphonenumber needs about 40 µs for a number's type. Whether it is of one of a few types takes less than
1 µs: only a number that their patterns match is asked about.
"""

import re
from enum import StrEnum
from functools import cache, lru_cache
from typing import Final

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    NumberParseException,
    PhoneMetadata,
    PhoneNumberType,
    number_type,
    parse,
)

from domain.contacts import prefix_of
from domain.countries import split_number


class NumberType(StrEnum):
    """The type of a number, as its country's numbering plan has it."""

    PREMIUM_RATE = "premium_rate"
    SHARED_COST = "shared_cost"
    SATELLITE = "satellite"
    """Satellite phones and other networks without a country: +870, +881, +882 and +883."""
    TOLL_FREE = "toll_free"
    VOIP = "voip"
    PERSONAL = "personal"
    """A number that follows a person, such as +4470…; calls to it can cost as much as premium rate."""
    PAGER = "pager"
    UAN = "uan"
    """A company's universal access number."""
    VOICEMAIL = "voicemail"
    FIXED_LINE = "fixed_line"
    MOBILE = "mobile"
    FIXED_LINE_OR_MOBILE = "fixed_line_or_mobile"
    """The plan does not distinguish the two, as in North America."""
    UNKNOWN = "unknown"
    """In no range that libphonenumber knows: not assigned, or newer than its tables."""


REFUSED_BY_DEFAULT: Final = frozenset({NumberType.PREMIUM_RATE, NumberType.SHARED_COST, NumberType.SATELLITE})

_WORLDWIDE: Final = {
    800: NumberType.TOLL_FREE,
    808: NumberType.SHARED_COST,
    870: NumberType.SATELLITE,
    878: NumberType.PERSONAL,
    881: NumberType.SATELLITE,
    882: NumberType.SATELLITE,
    883: NumberType.SATELLITE,
    888: NumberType.UAN,
    979: NumberType.PREMIUM_RATE,
}
"""The calling codes without a country (ITU-T E.164). libphonenumber calls satellite phones mobile."""

_TYPES: Final = {
    PhoneNumberType.PREMIUM_RATE: NumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST: NumberType.SHARED_COST,
    PhoneNumberType.TOLL_FREE: NumberType.TOLL_FREE,
    PhoneNumberType.VOIP: NumberType.VOIP,
    PhoneNumberType.PERSONAL_NUMBER: NumberType.PERSONAL,
    PhoneNumberType.PAGER: NumberType.PAGER,
    PhoneNumberType.UAN: NumberType.UAN,
    PhoneNumberType.VOICEMAIL: NumberType.VOICEMAIL,
    PhoneNumberType.FIXED_LINE: NumberType.FIXED_LINE,
    PhoneNumberType.MOBILE: NumberType.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE: NumberType.FIXED_LINE_OR_MOBILE,
}
_PATTERNS: Final = {
    NumberType.PREMIUM_RATE: ("premium_rate",),
    NumberType.SHARED_COST: ("shared_cost",),
    NumberType.TOLL_FREE: ("toll_free",),
    NumberType.VOIP: ("voip",),
    NumberType.PERSONAL: ("personal_number",),
    NumberType.PAGER: ("pager",),
    NumberType.UAN: ("uan",),
    NumberType.VOICEMAIL: ("voicemail",),
    NumberType.FIXED_LINE: ("fixed_line",),
    NumberType.MOBILE: ("mobile",),
    NumberType.FIXED_LINE_OR_MOBILE: ("fixed_line", "mobile"),
    NumberType.SATELLITE: (),
}
"""The fields of libphonenumber's metadata whose patterns every number of the type matches."""


@lru_cache(maxsize=4096)
def type_of(number: str) -> NumberType:
    """The type of an E.164 number."""
    split = split_number(number)
    if split is None:
        return NumberType.UNKNOWN
    if worldwide := _WORLDWIDE.get(split[0]):
        return worldwide
    try:
        return _TYPES.get(number_type(parse(number, None)), NumberType.UNKNOWN)
    except NumberParseException:
        return NumberType.UNKNOWN


def is_of_type(number: str, types: frozenset[NumberType]) -> bool:
    """Whether an E.164 number is of one of these types."""
    split = split_number(number)
    if split is None:
        return NumberType.UNKNOWN in types
    code, national = split
    known = _of_calling_code(code, types)
    if isinstance(known, bool):
        return known
    return known.fullmatch(national) is not None and type_of(number) in types


@cache
def _of_calling_code(code: int, types: frozenset[NumberType]) -> bool | re.Pattern[str]:
    """Whether the numbers of a calling code are of one of these types; or a pattern that all of those match
    that are, in any of its countries.
    """
    if worldwide := _WORLDWIDE.get(code):
        return worldwide in types
    if NumberType.UNKNOWN in types:
        return re.compile(".*")
    patterns: list[str] = []
    for region in COUNTRY_CODE_TO_REGION_CODE[code]:
        metadata = PhoneMetadata.metadata_for_region(region)
        for field in sorted({field for type in types for field in _PATTERNS[type]}):
            described = getattr(metadata, field, None)
            if described is not None and described.national_number_pattern:
                patterns.append(described.national_number_pattern)
    if not patterns:
        return False
    if prefix := prefix_of(code):
        # A number that was stored with a prefix is of the type that it has without it. A prefix may be empty.
        patterns.append(f"(?:{prefix.pattern})(?!^).*")
    return re.compile("|".join(f"(?:{pattern})" for pattern in dict.fromkeys(patterns)))
