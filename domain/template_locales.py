"""Numbers, money, times and plural forms as a locale writes them (CLDR, through Babel)."""

import copy
import re
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from babel import Locale, dates, localedata, numbers
from babel.core import get_global

from domain.template_run import Run, unfit
from domain.time_zones import time_zones

DEFAULT_LOCALE: Final = "en"
FORMATS: Final = ("short", "medium", "long", "full")
_Format: TypeAlias = Literal["short", "medium", "long", "full"]

_LOADED_MAX: Final = 32
"""How many locales stay in memory, of about 0.3 MB each; those that they inherit from count too, in Babel."""
_LOCALE_UNITS: Final = 10_000
"""What the first use of a locale costs within one rendering, whether it is in memory or not.

Babel loads one in 2 to 8 ms, with those that it inherits from.
"""
_LOCALES_MAX: Final = 3
"""How many locales one rendering formats in."""
_ZONES_LOADED_MAX: Final = 128
_ZONE_UNITS: Final = 500
"""What the first use of a time zone costs within one rendering: it is read from disk in about 0.15 ms."""
_FORMAT_UNITS: Final = 100

_LOCALE_CHARS_MAX: Final = 35
_NUMBER_CHARS_MAX: Final = 64
_DIGITS_MAX: Final = 24
"""The longest number, before and after the point."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_NO_SPACE: Final = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
"""Where CLDR sets a space that Babel does not: between a currency's letters and a digit, `NGN 5`."""
_PLAIN_SPACES: Final = str.maketrans({"\u00a0": " ", "\u202f": " "})
"""One space that GSM 7-bit lacks more than doubles the segments of an SMS."""

_loaded: OrderedDict[str, Locale] = OrderedDict()
_read: Final = localedata._cache  # pyright: ignore[reportPrivateUsage] (see _forget_read)
_resolved: Final = localedata._dict_cache  # pyright: ignore[reportPrivateUsage] (see _forget_read)


def check_locale(name: Any) -> str:
    """The name of a locale as CLDR writes it. Takes BCP 47 too (`fr-CI`). Raises RenderingFailed."""
    found = _known(name) if isinstance(name, str) and len(name) <= _LOCALE_CHARS_MAX else None
    if found is None:
        raise unfit("unknown locale: expected one of CLDR's, such as en, en-NG or fr-CI")
    return found


def check_currency(code: Any) -> str:
    """The code of a currency. Raises RenderingFailed."""
    if not isinstance(code, str) or code not in _currencies():
        raise unfit("unknown currency: expected a code of ISO 4217 such as NGN, XOF or USD")
    return code


def check_format(name: Any) -> _Format:
    """The name of a date or time format. Raises RenderingFailed."""
    if name not in FORMATS:
        raise unfit(f"unknown format: expected one of {', '.join(FORMATS)}")
    return name


def check_zone(name: Any) -> str:
    """The name of a time zone. Raises RenderingFailed."""
    if not isinstance(name, str) or name not in time_zones():
        raise unfit("unknown time zone: expected one of IANA's, such as Africa/Lagos")
    return name


def money(run: Run, value: Any, currency: Any, locale: Any = None) -> str:
    """An amount, rounded to the currency's digits, half to even: `₦1,500.50`."""
    amount, code = decimal_of(value, "money"), check_currency(currency)
    text = numbers.format_currency(amount, code, locale=_locale(run, locale))
    return _plain(_NO_SPACE.sub(" ", text))


def number(run: Run, value: Any, decimals: Any = None, locale: Any = None) -> str:
    """A number: `1,234.5`. `decimals`: exactly this many digits after the point, rounded half to even."""
    pattern = _locale(run, locale).decimal_formats[None]
    return _apply(run, pattern, decimal_of(value, "number"), decimals, locale)


def percent(run: Run, value: Any, decimals: Any = 0, locale: Any = None) -> str:
    """A ratio as a percentage: `25%` for 0.25."""
    pattern = _locale(run, locale).percent_formats[None]
    return _apply(run, pattern, decimal_of(value, "percent"), decimals, locale)


def plural(
    run: Run,
    value: Any,
    other: Any,
    zero: Any = None,
    one: Any = None,
    two: Any = None,
    few: Any = None,
    many: Any = None,
    locale: Any = None,
) -> Any:
    """The form that goes with a number; `other` if the form that the locale uses is not given."""
    forms = {"zero": zero, "one": one, "two": two, "few": few, "many": many}
    count = decimal_of(value, "plural")
    form = forms.get(_locale(run, locale).plural_form(count))
    return other if form is None else form


def format_date(
    run: Run,
    value: Any,
    format: Any = "medium",  # noqa: A002 (the name that templates write)
    tz: Any = None,
    locale: Any = None,
) -> str:
    """The date of a time, in the time zone `tz`."""
    when = _time_of(run, value, tz, "date")
    return _plain(dates.format_date(when, check_format(format), locale=_locale(run, locale)))


def format_time(
    run: Run,
    value: Any,
    format: Any = "short",  # noqa: A002 (the name that templates write)
    tz: Any = None,
    locale: Any = None,
) -> str:
    """The time of day, in the time zone `tz`."""
    return _in_zone(dates.format_time, run, _time_of(run, value, tz, "time"), format, locale)


def format_datetime(
    run: Run,
    value: Any,
    format: Any = "medium",  # noqa: A002 (the name that templates write)
    tz: Any = None,
    locale: Any = None,
) -> str:
    """The date and the time of day, in the time zone `tz`."""
    return _in_zone(dates.format_datetime, run, _time_of(run, value, tz, "datetime"), format, locale)


def _in_zone(formatted: Callable[..., str], run: Run, when: datetime, name: Any, locale: Any) -> str:
    """A time in Babel's format of this name. Babel would convert it to UTC."""
    return _plain(formatted(when, check_format(name), tzinfo=when.tzinfo, locale=_locale(run, locale)))


def decimal_of(value: Any, name: str) -> Decimal:
    """The exact decimal that JSON wrote, as a number or as a text. Raises RenderingFailed."""
    text = value.strip() if isinstance(value, str) and len(value) <= _NUMBER_CHARS_MAX else value
    if isinstance(text, int | float) and not isinstance(text, bool):
        # The shortest text of a float is what JSON wrote, up to 15 digits.
        text = repr(text) if isinstance(text, float) or text.bit_length() < 100 else ""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise unfit(f'`{name}` needs a number, such as 1500.5 or "1500.50"')
    found = Decimal(text)
    _, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int) or found.adjusted() >= _DIGITS_MAX or -exponent > _DIGITS_MAX:
        raise unfit(f"`{name}` takes at most {_DIGITS_MAX} digits before and after the point")
    return found if len(digits) <= _DIGITS_MAX else found.normalize()


def _apply(run: Run, pattern: numbers.NumberPattern, value: Decimal, decimals: Any, locale: Any) -> str:
    if decimals is not None:
        if not isinstance(decimals, int) or not 0 <= decimals <= _DIGITS_MAX:
            raise unfit(f"`decimals` is a number from 0 to {_DIGITS_MAX}")
        pattern = copy.copy(pattern)
        pattern.frac_prec = (int(decimals), int(decimals))
    return _plain(pattern.apply(value, _locale(run, locale)))


def _plain(text: str) -> str:
    return text.translate(_PLAIN_SPACES)


def _time_of(run: Run, value: Any, tz: Any, name: str) -> datetime:
    zone = _zone(run, tz) if tz is not None else None
    try:
        if isinstance(value, str) and name == "date" and _DATE.fullmatch(value):
            # A day is the same day everywhere.
            return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
        if isinstance(value, str) and len(value) <= _NUMBER_CHARS_MAX and len(value) > len("2026-11-30"):
            when = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            when = datetime.fromtimestamp(value, UTC)
        else:
            raise ValueError
        if when.tzinfo is None:
            # It has no offset: a local time, which is shown as it is.
            return when.replace(tzinfo=zone or UTC)
        return when.astimezone(zone) if zone else when
    except (ValueError, OverflowError, OSError):
        raise unfit(
            f"`{name}` needs a time in ISO 8601, such as 2026-11-30T18:30:00Z, or seconds since 1970"
        ) from None


def _locale(run: Run, name: Any) -> Locale:
    given = name if name is not None else run.locale
    found = check_locale(given if given is not None else DEFAULT_LOCALE)
    if found in run.locales:
        run.spend(_FORMAT_UNITS)
    elif len(run.locales) >= _LOCALES_MAX:
        raise unfit(f"a text is formatted in at most {_LOCALES_MAX} locales")
    else:
        run.spend(_LOCALE_UNITS)
        run.locales.add(found)
    return _load(found)


def _load(name: str) -> Locale:
    """The locale of this name. The ones that were used last stay in memory."""
    locale = _loaded.get(name)
    if locale is None:
        locale = _loaded[name] = Locale.parse(name)
        # A locale reads its data when they are first needed, and then holds them itself.
        _ = locale.decimal_formats
        if len(_loaded) > _LOADED_MAX:
            _loaded.popitem(last=False)
        _forget_read()
    _loaded.move_to_end(name)
    return locale


def _forget_read() -> None:
    """Forget what Babel read first, beyond the limit. Babel itself only offers to forget everything."""
    # What every locale inherits from stays.
    others = [name for name in _read if name != "root"]
    for name in others[: max(0, len(others) - _LOADED_MAX)]:
        del _read[name]
        _resolved.pop(name, None)


def _zone(run: Run, name: Any) -> ZoneInfo:
    found = check_zone(name)
    if found not in run.zones:
        run.spend(_ZONE_UNITS)
        run.zones.add(found)
    return _load_zone(found)


@lru_cache(maxsize=_ZONES_LOADED_MAX)
def _load_zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _known(name: str) -> str | None:
    key = name.replace("-", "_").lower()
    if key in _locales():
        return _locales()[key]
    # `zh_TW` is `zh_Hant_TW`: the script that is usual there is left out.
    language, _, territory = key.partition("_")
    likely = get_global("likely_subtags")
    usual = likely.get(f"{language}_{territory.upper()}") or likely.get(language) or ""
    script = usual.split("_")[1:2]
    return _locales().get("_".join([language, *script, territory]).lower()) if territory and script else None


@cache
def _locales() -> dict[str, str]:
    return {name.lower(): name for name in localedata.locale_identifiers()}


@cache
def _currencies() -> frozenset[str]:
    return frozenset(numbers.list_currencies())
