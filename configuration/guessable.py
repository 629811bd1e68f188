"""How much of a text cannot be guessed from the rest of it. Pure.

Guessed are runs of neighbours in the alphabet, among the digits or on a keyboard, and what came before. The
result is an upper bound: no language is known here.
"""

from collections.abc import Collection
from itertools import groupby
from math import log2
from typing import Final

RUN_MIN: Final = 4
"""Characters of a run or a repetition. Shorter ones are frequent in random digits."""
CHARACTERS_MAX: Final = 256
"""How much of a text is examined."""

_ROWS: Final = (
    *("abcdefghijklmnopqrstuvwxyz", "012345678901", "02468", "13579", "acegikmoqsuwy", "bdfhjlnprtvxz"),
    *("1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "!@#$%^&*()_+"),
    *("qwertzuiop", "yxcvbnm,.-", "azertyuiop", "qsdfghjklm", "wxcvbn"),
    *("1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "8ik,", "9ol.", "0p;/"),
)
_NEIGHBOURS: Final = "\n".join((*_ROWS, *(row[::-1] for row in _ROWS)))
_SEPARATORS: Final = frozenset("-_ .:/")


def bits(text: str, words: Collection[str] = ()) -> float:
    """The entropy of a text, at most: of what is left once each run, repetition and known word counts as one
    character, and separators as none.
    """
    examined = text[:CHARACTERS_MAX]
    once = "".join(character for character, _ in groupby(examined))
    if len(once) * 3 <= len(examined) * 2:  # doubled characters, as in 1122334455
        examined = once
    left = [character for character in _left(examined, words) if character not in _SEPARATORS]
    return len(left) * log2(max(2, len(set(left))))


def is_predictable(text: str) -> bool:
    """Whether a text consists of one short pattern, or of a few runs."""
    examined = text[:CHARACTERS_MAX]
    if len(examined) < RUN_MIN:
        return len(examined) > 2 and len(set(examined)) == 1
    return period(examined) * 3 <= len(examined) or len(_left(examined)) * RUN_MIN <= len(examined)


def period(text: str) -> int:
    """The length of the shortest text that, repeated, begins with this one; its own length without such."""
    examined = text[:CHARACTERS_MAX]
    lengths = range(1, len(examined))
    return next((p for p in lengths if examined.startswith(examined[p:])), len(examined))


def _left(text: str, words: Collection[str] = ()) -> list[str]:
    """The characters of a text that do not follow from others; of what does, the first."""
    lower, at, left = text.lower(), 0, list[str]()
    longest = max(map(len, words), default=0)
    while at < len(lower):
        left.append(text[at])
        run, again = _run(lower, at), _again(lower, at)
        word = next((n for n in range(longest, 2, -1) if lower[at : at + n] in words), 0)
        taken = max(run if run >= RUN_MIN else 0, again if again >= RUN_MIN else 0, word)
        at += taken or 1
    return left


def _run(text: str, at: int) -> int:
    """How many characters from here on are neighbours, in one direction, or the same."""
    end = at + 1
    while end < len(text) and (text[at : end + 1] in _NEIGHBOURS or text[end] == text[at] == text[end - 1]):
        end += 1
    return end - at


def _again(text: str, at: int) -> int:
    """How many characters from here on occurred before."""
    end = at
    while end < len(text) and text[at : end + 1] in text[:end]:
        end += 1
    return end - at
