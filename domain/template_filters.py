"""The filters of templates. Each uses fuel for what it reads before it reads it."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import filters as jinja_filters
from markupsafe import escape

from domain import template_locales as locales
from domain.template_run import MISSING, Run, integer_checked, unfit

_PRECISION_MAX: Final = 5_000
"""Beyond it, rounding a number that a template can have changes nothing more."""
_DIGITS_PER_UNIT: Final = 4
"""Of a fraction that is read or rounded."""
_BITS_PER_DIGIT: Final = 3
_FRACTION_DIGITS_MAX: Final = 800
"""The digits after these decide nothing when a fraction is read."""
_DIGITS_READ_MAX: Final = 4_300
"""The longest number that Python reads; a longer one only in a base that takes it time in proportion."""
_DIGIT_PAIRS_PER_UNIT: Final = 16_384
_PARSE_UNITS: Final = 6
"""What it takes to find that a text is not a number."""


def _text(function: Callable[[Any], Any], factor: int) -> Callable[[Run, Any], Any]:
    """A filter of texts of Jinja2, which costs `factor` times as much as a copy."""

    def apply(run: Run, value: Any) -> Any:
        text = run.to_text(value)
        run.read(text, factor)
        return function(text)

    return apply


def _trim(run: Run, value: Any, chars: Any = None) -> Any:
    text = run.to_text(value)
    # Each character at the ends is compared with each of `chars`.
    run.read(text, 1 + len(chars) if isinstance(chars, str) else 1)
    return text.strip(chars)


def _truncate(
    run: Run, value: Any, length: Any = 255, killwords: Any = False, end: Any = "...", leeway: Any = None
) -> Any:
    run.weigh(value)
    run.weigh(end)
    leeway = 5 if leeway is None else leeway
    if length < len(end) or leeway < 0:
        raise unfit("`truncate` needs a length that has room for `end`, and a leeway that is not negative")
    if len(value) <= length + leeway:
        return value
    if killwords:
        return value[: length - len(end)] + end
    return value[: length - len(end)].rsplit(" ", 1)[0] + end


def _round(run: Run, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    if method not in ("common", "ceil", "floor"):
        raise unfit("the method of `round` is common, ceil or floor")
    run.weigh(value)
    if isinstance(value, float):
        # Python writes all digits before the point: 309 of the largest fraction.
        run.spend(max(0, math.frexp(value)[1]) // (_BITS_PER_DIGIT * _DIGITS_PER_UNIT))
    if isinstance(precision, int):
        precision = max(-_PRECISION_MAX, min(_PRECISION_MAX, precision))
        run.spend(abs(precision) // _DIGITS_PER_UNIT)
    if method == "common":
        return integer_checked(round(value, precision))
    rounding = math.ceil if method == "ceil" else math.floor
    if not isinstance(value, int | float) or not isinstance(precision, int | float):
        raise unfit("`round` needs a number")
    return rounding(integer_checked(value * (10**precision))) / (10**precision)


def _int(run: Run, value: Any, default: Any = 0, base: Any = 10) -> Any:
    run.weigh(value)
    if isinstance(value, str):
        # Python multiplies all that it has read by the base, again and again.
        run.spend(_PARSE_UNITS + min(len(value), _DIGITS_READ_MAX) ** 2 // _DIGIT_PAIRS_PER_UNIT)
        try:
            found = int(value, base)
        except (TypeError, ValueError):
            # Then it is tried as a fraction.
            _spend_for_fraction(run, value)
        else:
            return integer_checked(found)
    return integer_checked(jinja_filters.do_int(value, default, base))


def _float(run: Run, value: Any, default: Any = 0.0) -> Any:
    run.weigh(value)
    if isinstance(value, str):
        _spend_for_fraction(run, value)
    return jinja_filters.do_float(value, default)


def _spend_for_fraction(run: Run, text: str) -> None:
    run.spend(_PARSE_UNITS + min(len(text), _FRACTION_DIGITS_MAX) // _DIGITS_PER_UNIT)


def _abs(run: Run, value: Any) -> Any:
    run.weigh(value)
    return abs(value)


def _first(run: Run, value: Any) -> Any:
    return next(iter(value), MISSING)


def _last(run: Run, value: Any) -> Any:
    return next(iter(reversed(value)), MISSING)


def _length(run: Run, value: Any) -> Any:
    return len(value)


def _default(run: Run, value: Any, default_value: Any = "", boolean: Any = False) -> Any:
    return default_value if value is MISSING or (boolean and not value) else value


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": _abs,
    "capitalize": _text(jinja_filters.do_capitalize, 2),
    "d": _default,
    "date": locales.format_date,
    "datetime": locales.format_datetime,
    "default": _default,
    "e": _text(escape, 4),
    "escape": _text(escape, 4),
    "first": _first,
    "float": _float,
    "int": _int,
    "last": _last,
    "length": _length,
    "lower": _text(jinja_filters.do_lower, 2),
    "money": locales.money,
    "number": locales.number,
    "percent": locales.percent,
    "plural": locales.plural,
    "round": _round,
    "time": locales.format_time,
    "title": _text(jinja_filters.do_title, 16),
    "trim": _trim,
    "truncate": _truncate,
    "upper": _text(jinja_filters.do_upper, 2),
}
DEFAULTS: Final = frozenset({"d", "default"})
ELEMENTS: Final = frozenset({"first", "last"})
"""What they return is a value of the data, which may itself be missing, null or blank."""
SHORTENED: Final = frozenset({"trim", "truncate"})
"""What they return may be blank although the text was not."""
SIGNATURES: Final = {name: inspect.signature(function) for name, function in FILTERS.items()}
ARGUED: Final = frozenset(
    name
    for name, signature in SIGNATURES.items()
    if any(parameter.default is parameter.empty for parameter in list(signature.parameters.values())[2:])
)
"""The filters that need an argument."""

CONSTANTS: Final[Mapping[str, Callable[[Any], object]]] = {
    "currency": locales.check_currency,
    "format": locales.check_format,
    "locale": locales.check_locale,
    "tz": locales.check_zone,
}
"""Checks of arguments by name, for those that a template writes as constants."""


def usage(name: str) -> str:
    """The arguments of a filter as its documentation writes them."""
    return ", ".join(list(SIGNATURES[name].parameters)[2:]) or "none"
