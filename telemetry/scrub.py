"""A net under texts that others wrote, exception messages above all: what is private in them is taken out.

Our own texts never carry such things. No pattern finds what a text says in plain words (a code, a name), so
nothing may rely on this one.
"""

import re

PRIVATE = "[private]"
"""Stands where a private value would have stood."""

TEXT_CHARS_MAX = 20_000
"""Longer texts are cut: nobody reads them, and a search over one takes its time."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Postgres repeats whole rows and keys after DETAIL, drivers and validators the values they refuse.
    (
        re.compile(
            r"DETAIL:.*?(?=\n(?:HINT|CONTEXT|QUERY|\s*The above exception|\s*During handling)|\Z)", re.DOTALL
        ),
        f"DETAIL: {PRIVATE}",
    ),
    (re.compile(r"(invalid input [^:\n]{0,80}: ).*"), rf"\1{PRIVATE}"),
    (re.compile(r"input_value=.*?(?=, input_type=|\Z)", re.DOTALL), f"input_value={PRIVATE}"),
    (re.compile(r"\b(?:Bearer|Basic)\s+[^\s&\"',;)]+|\bhk_\w+", re.IGNORECASE), PRIVATE),
    (re.compile(r"(?<=://)[^\s/@]+@"), f"{PRIVATE}@"),
    (
        re.compile(
            r"\b(api_?key|auth_?token|token|secret|password|signature|sig)([\"']?\s*[=:]\s*[\"']?)"
            r"[^\s&\"',;})]+",
            re.IGNORECASE,
        ),
        rf"\1\2{PRIVATE}",
    ),
    (
        re.compile(
            r"[^\s@<>\"'=,;:(\[&?/]{1,64}(?:@|%40)[^\s@<>\"',;:)&/\[\]]{1,255}\.[^\s@<>\"',;:)&/]+",
            re.IGNORECASE,
        ),
        PRIVATE,
    ),
    (re.compile(r"(?:\+|%2B)\d[\d ().-]{5,18}\d", re.IGNORECASE), PRIVATE),
    # A number without its plus, as some vendors write it; not a part of an id, a time or a fraction.
    (re.compile(r"(?<![\w.-])\d{11,15}(?![\w-]|\.\d)"), PRIVATE),
)


def scrub(text: str) -> str:
    """The text with phone numbers, email addresses, credentials and refused values masked.

    Cut at TEXT_CHARS_MAX.
    """
    if len(text) > TEXT_CHARS_MAX:
        text = f"{text[:TEXT_CHARS_MAX]}…"
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
