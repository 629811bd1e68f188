"""When a secret is too weak to use. Pure: the messages never contain the secret."""

from dataclasses import dataclass
from typing import Final
from unicodedata import category
from urllib.parse import parse_qsl, unquote, urlsplit

from configuration.guessable import bits, period
from configuration.placeholders import WORDS, is_placeholder

OWN_LENGTH_MIN: Final = 32
"""Characters of a secret that we generate: 16 random bytes in hexadecimal, at least."""
OWN_BITS_MIN: Final = 56.0
"""Entropy of a secret that we generate, as `guessable.bits` estimates it: less than half of what 32 random
hexadecimal digits have, so that none of them is refused.
"""
VENDOR_LENGTH_MIN: Final = 8
"""Characters of a secret that a vendor chose: no vendor's is shorter."""
GENERATE: Final = "`openssl rand -hex 32` makes one"


_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that are not seen: control and format characters, line separators, and
bytes that are no text.
"""


@dataclass(frozen=True, slots=True)
class Generated:
    """Marks a setting whose secret an operator generates, and not a vendor."""


@dataclass(frozen=True, slots=True)
class Url:
    """Marks a setting that is a URL, whose password is its secret."""


def url_weakness(url: str) -> str | None:
    """Why the passwords of a URL may not be used, like `weakness`; they may be in its query."""
    parts = urlsplit(url)
    passwords = [unquote(parts.password or "")]
    passwords += [value for name, value in parse_qsl(parts.query) if name.lower().endswith("password")]
    if any(is_placeholder(password) for password in passwords if password):
        return "its password is a placeholder, not a secret"
    return None


def unseen(value: str) -> str | None:
    """What a value contains that is hardly part of a secret and cannot be seen, like `weakness`."""
    if any(category(character) in _UNSEEN for character in value):
        return "contains a control character, such as a line break, a tab or a byte order mark"
    return "begins or ends with white space" if value != value.strip() else None


def weakness(value: str, *, generated: bool) -> str | None:
    """Why a secret may not be used, as the end of a sentence; None if it may.

    `generated`: an operator made it, so that it must be long and random. A vendor's is what it is.
    """
    if is_placeholder(value):
        return "is a placeholder, not a secret"
    if not generated:
        if len(value) < VENDOR_LENGTH_MIN:
            return f"has fewer than {VENDOR_LENGTH_MIN} characters: no vendor's secret is so short"
        return None
    if len(value) < OWN_LENGTH_MIN:
        return f"has fewer than {OWN_LENGTH_MIN} characters ({GENERATE})"
    if period(value) * 2 <= len(value):
        return f"repeats itself: it is not random ({GENERATE})"
    if bits(value, WORDS) < OWN_BITS_MIN:
        return f"is easy to guess: it is not random ({GENERATE})"
    return None
