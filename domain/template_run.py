"""One rendering of a template: its fuel, what it wrote, and the values that it could not find."""

import re
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

FUEL: Final = 40_000
"""What a rendering may spend. A unit is one node of the template, or what takes no longer: about 0.4 µs."""
INTEGER_BITS_MAX: Final = 14_280
"""The largest integer that a template computes with: what Python still writes as a text."""
CONTAINERS: Final = frozenset({list, dict})
"""What JSON has beside texts, numbers, booleans and null."""
LACKS_MAX: Final = 50
"""How many absent values a message names."""

_CHARS_PER_UNIT: Final = 32
_BITS_PER_UNIT: Final = 16
_FLOAT_UNITS: Final = 5
"""What it takes to write a fraction as a text: a very large or small one takes ten times as long as 1.5."""
_COMPARED_PER_UNIT: Final = 1_024
"""How many pairs of characters a search compares in the time of a unit."""
_INVISIBLE: Final = (
    r"\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f"
    r"\U00013441\U00013442\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Unicode's white space, controls, what fonts ignore by default (Default_Ignorable_Code_Point), the format
characters that cannot be seen, and the blank signs of Braille, hieroglyphs, Khitan and music.
"""
_BLANK: Final = re.compile(f"[{_INVISIBLE}]*")


class Absent(Enum):
    """In place of a value."""

    MISSING = "missing"
    """There is no such value, and the template may ask for it: `default`, `is defined`."""
    LACKING = "lacking"
    """A value that the template needs is absent. It was recorded, and what depends on it is skipped."""


MISSING: Final = Absent.MISSING
LACKING: Final = Absent.LACKING

Kind: TypeAlias = Literal["missing", "null", "blank"]


class Lack(NamedTuple):
    """A value that the template needs: `text` as the template writes it, `path` if its keys are known."""

    text: str
    kind: Kind
    path: tuple[str, ...]


class RenderingFailed(ValueError):
    """The data does not fit the template. The message never repeats the data.

    `lacks`: the values that are missing, null or blank. `fuel`: what the rendering had used.
    """

    def __init__(self, code: str, message: str, lacks: tuple[Lack, ...] = (), fuel: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.lacks = lacks
        self.fuel = fuel


def unfit(message: str) -> RenderingFailed:
    """Build the error for data that an operation of the template cannot use."""
    return RenderingFailed("template_failed", message)


def not_a_text(what: str) -> RenderingFailed:
    """Build the error for a list or a mapping where a text is needed."""
    return unfit(f"{what} is a list or a mapping, not a text: name a value in it, or write a `for`")


def is_blank(text: str) -> bool:
    """Whether a text has nothing that a reader can see."""
    return _BLANK.fullmatch(text) is not None


def integer_checked(value: Any) -> Any:
    """The value, unless it is an integer above what a template computes with. Raises RenderingFailed."""
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX:
        raise unfit("a number has too many digits")
    return value


class Run:
    """One rendering. `locale`: the locale of filters that name none.

    `unknown`: what a name stands for that the data does not have. It is LACKING in a trial, when only a part
    of the data is known: then what depends on the rest is skipped. `before`: the rendering of the same
    message that this one goes on with, on the fuel that is left and in the locales and zones that are paid.
    """

    __slots__ = ("_lacks", "_parts", "_room", "fuel", "locale", "locales", "unknown", "zones")

    def __init__(
        self, chars_max: int, locale: Any, unknown: Absent = MISSING, before: "Run | None" = None
    ) -> None:
        self.fuel = before.fuel if before else FUEL
        self.locale = locale
        self.locales: set[str] = before.locales if before else set()
        self.zones: set[str] = before.zones if before else set()
        self.unknown = unknown
        self._room = chars_max
        self._parts: list[str] = []
        self._lacks: dict[Lack, None] = {}

    @property
    def text(self) -> str:
        """What was written."""
        return "".join(self._parts)

    @property
    def lacks(self) -> tuple[Lack, ...]:
        """The values that were needed and are absent, in the order of the template."""
        return tuple(self._lacks)

    @property
    def used(self) -> int:
        """How much fuel was used, also before."""
        return FUEL - self.fuel

    def spend(self, units: int) -> None:
        """Use fuel. Raises RenderingFailed if there is not enough."""
        self.fuel -= units
        if self.fuel < 0:
            raise RenderingFailed(
                "template_too_costly", "rendering this template with this data is too much work: simplify it"
            )

    def read(self, text: str, factor: int = 1) -> None:
        """Use the fuel for an operation over a text, which costs `factor` times as much as a copy."""
        self.spend(1 + len(text) * factor // _CHARS_PER_UNIT)

    def search(self, part: str, whole: str) -> None:
        """Use the fuel for a search of a text in another.

        Python compares up to all of `part` at every place of `whole` where it could begin.
        """
        places = len(whole) - len(part) + 1
        if places > 0 and (units := len(part) * places // _COMPARED_PER_UNIT):
            self.spend(units)

    def weigh(self, value: Any) -> None:
        """Use the fuel for an operation over all of a value."""
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                self.read(item)
            elif isinstance(item, int):
                self.spend(1 + item.bit_length() // _BITS_PER_UNIT)
            elif isinstance(item, float):
                self.spend(_FLOAT_UNITS)
            elif isinstance(item, dict):
                self.spend(1 + len(item))
                pending.extend(item)
                pending.extend(item.values())
            elif isinstance(item, list):
                self.spend(1 + len(item))
                pending.extend(item)
            else:
                self.spend(1)

    def to_text(self, value: Any) -> str:
        """Return a value as a text. A text stays what it is, also if it is marked as escaped."""
        if isinstance(value, str):
            self.read(value)
            return value
        if type(value) in CONTAINERS:
            raise not_a_text("a value")
        self.weigh(value)
        return str(value)

    def write(self, text: str) -> None:
        """Write a part of the output. Raises RenderingFailed if the output gets too long."""
        self._room -= len(text)
        if self._room < 0:
            raise RenderingFailed("template_output_too_long", "the text is longer than is allowed")
        self._parts.append(text)

    def lack(self, text: str, kind: Kind, path: tuple[str, ...] = ()) -> Absent:
        """Record a value that is needed and absent."""
        if len(self._lacks) < LACKS_MAX:
            self._lacks[Lack(text, kind, path)] = None
        return LACKING

    def present(self, value: Any, text: str, path: tuple[str, ...] = ()) -> Any:
        """Return a value that the template computes with, or LACKING if it is missing or null."""
        if value is None:
            return self.lack(text, "null", path)
        return self.lack(text, "missing", path) if value is MISSING else value

    def needed(self, value: Any, text: str, path: tuple[str, ...] = ()) -> Any:
        """Return a value that the template prints, or LACKING if nobody could see it."""
        if isinstance(value, str) and "!" <= value[:1] <= "~":
            return value
        if value is None:
            return self.lack(text, "null", path)
        if value is MISSING:
            return self.lack(text, "missing", path)
        return self.lack(text, "blank", path) if self.blank(value) else value

    def blank(self, value: Any) -> bool:
        """Whether a value has nothing that a reader can see: a blank text, an empty list or mapping."""
        if isinstance(value, str):
            if "!" <= value[:1] <= "~":
                return False
            self.read(value)
            return is_blank(value)
        return not value and type(value) in CONTAINERS
