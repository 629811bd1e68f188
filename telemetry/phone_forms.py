"""How people write phone numbers: in groups, with spaces, dots, dashes, slashes or brackets between them.

A number without a plus has at least nine digits, and something that dates, amounts, versions, IP addresses
and ids lack: a zero or an area code in brackets in front, groups of three, three and four digits, or a first
group that is a calling code.
"""

import re
from typing import Final

from domain.masking import CALLING_CODES

_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR: Final = r"(?:19|20)\d\d"
_DATE: Final = "|".join(
    rf"{_DAY}{mark}{_DAY}{mark}(?:{_YEAR}(?!\d)|\d\d(?!{mark}?\d))|{_YEAR}{mark}{_DAY}{mark}{_DAY}(?!\d)"
    for mark in (r"\.", "/", "-")
)
"""A date in digits, with the day or the month first or last. It is not the beginning of `06.12.34.56.78`."""
_NO_DATE: Final = rf"(?!{_DATE})"
_SPACE: Final = r"[ \u00a0\u202f]"
_DASH: Final = r"[\-\u2010-\u2014\u2212/]"
_BRACKET: Final = rf"(?:{_SPACE}?\(0\){_SPACE}?|\){_SPACE}?\(?|{_SPACE}?\()"
_GAP: Final = rf"(?:{_SPACE}?{_DASH}{_SPACE}?|{_BRACKET}|{_SPACE}{{1,3}}{_NO_DATE})"
_DOT: Final = rf"(?:\){_SPACE}?|\.)"
_ANY_GAP: Final = rf"(?:{_GAP}|\.)"
_BEGIN: Final = r"(?<!\w)(?<!\w-)(?<!\d\.)"
"""It is not a part of an id, a version or a fraction."""
_END: Final = r"(?![^\Wx]|x\D|-\d|\.\d)"
"""An extension may follow: `415-555-0132x12`."""
_ROUND: Final = rf"\d{{1,3}}(?:{_SPACE}\d{{3}}){{0,2}}(?:{_SPACE}000){{2}}(?!\d)"
"""An amount of whole millions: `20 500 000 000`."""


def _grouped(least: int, most: int, gap: str = _GAP) -> str:
    """At least and at most this number of digits, alone or in groups of two or more."""
    return rf"(?:\d|{gap}\d(?=\d)){{{least},{most}}}"


def _codes(length: int) -> str:
    return "|".join(sorted(code for code in CALLING_CODES if len(code) == length))


_WITH_PLUS: Final = rf"(?:\+|%2B)\d(?:(?!{_SPACE}(?:{_DATE}))(?:{_SPACE}|{_DASH}|[().]){{0,3}}\d){{6,16}}"
_WITHOUT: Final = (
    # 2348031230077, 08031230077, 0712345678
    r"(?:\d{11,15}|0[1-9]\d{8})(?!-)",
    # 0803 123 0077, (0803) 123-0077, 030/1234567, 0044 20 7946 0018. An id may begin with eight digits.
    rf"{_NO_DATE}\(?0(?!\.|\d{{7}}){_grouped(8, 16)}",
    # 06.12.34.56.78, (0803) 123.0077
    rf"{_NO_DATE}\(?0(?!\.|\d{{7}}){_grouped(8, 16, _DOT)}",
    # (11) 98765-4321
    rf"\(\d{{2,5}}\)(?:{_SPACE}|{_DASH})?{_NO_DATE}\d{_grouped(6, 11)}",
    # 415-555-0132, 1 (415) 555-0132
    rf"(?:1{_ANY_GAP})?\(?[2-9]\d\d{_ANY_GAP}\d{{3}}{_ANY_GAP}\d{{4}}",
    # 234 803 123 0077, 44 (0)20 7946 0018: eleven digits or more
    *(
        rf"(?!{_DATE}|{_ROUND})(?:{_codes(size)}){_GAP}\d{_grouped(10 - size, 14 - size)}"
        for size in (1, 2, 3)
    ),
)

NUMBER: Final = re.compile(rf"{_WITH_PLUS}|{_BEGIN}(?:{'|'.join(_WITHOUT)}){_END}", re.IGNORECASE)
"""A phone number in any of these forms."""
