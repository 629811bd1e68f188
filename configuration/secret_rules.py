"""When a secret is too weak to use. Pure: the messages never contain the secret."""

import re
from dataclasses import dataclass
from typing import Final

OWN_LENGTH_MIN: Final = 32
"""Characters of a secret that we generate: 16 random bytes in hexadecimal, at least."""
OWN_DISTINCT_MIN: Final = 8
"""Different characters of a secret that we generate. 32 random hexadecimal digits have fewer about once in
100,000 times, and the usual ones have 64.
"""
VENDOR_LENGTH_MIN: Final = 8
"""Characters of a secret that a vendor chose: no vendor's is shorter."""
GENERATE: Final = "`openssl rand -hex 32` makes one"

_PLACEHOLDER: Final = re.compile(
    r"\W*(change|replace)[-_ ]?(me|this|it)\W*"
    r"|\W*(my|your|the|some|an?|insert|enter)[-_ ](\w+[-_ ]){0,3}(secret|password|key|token)\b.{0,20}"
    r"|<.*>|\$\{.*\}|\{\{.*\}\}"
    r"|[\W_]+|(?P<same>.)(?P=same){2,}"
    r"|(dummy|example|placeholder|sample|test|testing|tests|to-?do|none|null|unset|fixme|foo|bar)\W*"
    r"|(secret|password|passwd|token|key|api[-_]?key|secret[-_]?key)\W*\d{0,4}",
    re.IGNORECASE | re.DOTALL,
)
_PLACEHOLDER_WITHIN: Final = re.compile(r"(change|replace)[-_ ]?(me|this)\b|placeholder|…", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Generated:
    """Marks a setting whose secret an operator generates, and not a vendor."""


def is_placeholder(value: str) -> bool:
    """Whether the value stands for a secret that someone was to fill in, such as `change-me` or `…`."""
    return _PLACEHOLDER.fullmatch(value) is not None or _PLACEHOLDER_WITHIN.search(value) is not None


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
    if len(set(value)) < OWN_DISTINCT_MIN or _period(value) * 2 <= len(value):
        return f"repeats itself: it is not random ({GENERATE})"
    return None


def _period(value: str) -> int:
    """The length of the shortest text that the value repeats."""
    return (value + value).find(value, 1)
