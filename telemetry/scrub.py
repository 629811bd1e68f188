"""Mask private data in texts that Herald did not write, mainly exception messages.

This is a last line of defence: Herald's own texts have no private data, and no pattern finds a code or a name
in plain words. Do not rely on it.
"""

import re
import unicodedata
from typing import Final

from telemetry.phone_forms import NUMBER

PRIVATE = "[private]"
"""Replaces a private value."""

TEXT_CHARS_MAX = 20_000
"""Longer texts are truncated, to bound the time of the search."""

_SIGNS: Final = {
    "＠": "@",
    "﹫": "@",
    "＋": "+",
    "﹢": "+",
    "．": ".",
    "·": ".",
    "・": ".",
    "－": "-",
    "﹣": "-",
}
"""How other keyboards write what the rules look for, besides digits."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Postgres repeats whole rows and keys after DETAIL; drivers and validators repeat the values they refuse.
    (
        re.compile(
            r"DETAIL:.*?(?=\n(?:HINT|CONTEXT|QUERY|\s*The above exception|\s*During handling)|\Z)", re.DOTALL
        ),
        f"DETAIL: {PRIVATE}",
    ),
    (re.compile(r"(invalid input [^:\n]{0,80}: ).*"), rf"\1{PRIVATE}"),
    (re.compile(r"input_value=.*?(?=, input_type=|\Z)", re.DOTALL), f"input_value={PRIVATE}"),
    (re.compile(r"\b(?:Bearer|Basic)\s+[^\s&\"',;)]+|hk_(?:live|test)_\w+|\bhk_\w+", re.IGNORECASE), PRIVATE),
    (re.compile(r"(?<=://)[^\s/?#]+@"), f"{PRIVATE}@"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), PRIVATE),
    (
        # The name may be longer: `HERALD_…__AUTH_TOKEN`, `X-Api-Key`, `client_secret`, `sslpassword`.
        re.compile(
            r"((?:api|secret|private|signing)[_-]?key|token|secret|passw(?:or)?d|passphrase|signature|\bsig)"
            r"([\"']?\s*[=:]\s*|[\"'],\s*(?=b?[\"']))((?:SecretStr\()?b?[\"']|)"
            r"(?:(?<=\")[^\"]*|(?<=')[^']*|[^\s&\"',;})]+)",
            re.IGNORECASE,
        ),
        rf"\1\2\3{PRIVATE}",
    ),
    (
        re.compile(
            r"(?:[^\s@<>\"'=,;:(\[&?/]|(?<=\w)'(?=\w)){1,64}(?:@|%40)[^\s@<>\"',;:)&/\[\]]{1,255}\.[^\s@<>\"',;:)&/]+",
            re.IGNORECASE,
        ),
        PRIVATE,
    ),
    (NUMBER, PRIVATE),
)


def scrub(text: str) -> str:
    """Mask phone numbers, email addresses, credentials and refused values. Truncates at TEXT_CHARS_MAX."""
    if len(text) > TEXT_CHARS_MAX:
        text = f"{text[:TEXT_CHARS_MAX]}…"
    plain = text if text.isascii() else "".join(map(_plain, text))
    scrubbed = plain
    for pattern, replacement in _RULES:
        scrubbed = pattern.sub(replacement, scrubbed)
    return text if scrubbed == plain else scrubbed


def _plain(character: str) -> str:
    """A digit of any script, or a sign, as ASCII has it; every other character unchanged."""
    return _SIGNS.get(character) or str(unicodedata.decimal(character, character))
