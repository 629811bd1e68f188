"""Plain English: idioms of this house that its readers do not share."""

import re
from pathlib import Path

from repository import files, name

SUFFIXES = (".py", ".sql", ".lua", ".md", ".toml", ".yml", ".sh", "")
LEFT_OUT = ("docs/decisions/", "docs/performance.md", "tests/storage/releases/", "LICENSE")
"""Records keep the words of their day; the licence is not ours."""

IDIOMS = {
    r"so (?:many|few|long|often|much)": "a number: at most N, for N seconds",
    r"anew": "again",
    r"(?:is|are|was|were|be|been) told": "says, knows, is notified",
    r"tells?(?!\()": "says, reports, shows; tell apart: distinguish",
    r"of (?:its|their|his|her|our|your) own": "its own …, a separate …, or leave it out",
    r"(?<!there )(?:is|are|was|were) (?-i:none)": "there is no …, is not a …",
    r"(?:comes?|came) to (?:a|an|the|nothing|what)": "results in, ends as",
    r"takes? (?:it|them)? ?in vain": "accepts and does not deliver",
    r"(?:was|were|is|are) taken in": "was accepted",
    r"amiss": "wrong",
    r"let go of": "removed, released",
    r"by itself alone": "alone",
    r"the people on duty": "the operators",
    r"hurry": "bring forward",
    r"whoever": "anyone who, a client that",
    r"nobody can tell": "it is unknown",
}
"""What is not written, and what to write instead."""

PATTERN = re.compile("|".join(rf"\b{idiom}\b" for idiom in IDIOMS), re.IGNORECASE)


def texts() -> list[Path]:
    """Every file with text in it, except this one, which names what it looks for."""
    return [
        path
        for path in files()
        if path.suffix in SUFFIXES and path != Path(__file__) and not name(path).startswith(LEFT_OUT)
    ]


def test_texts_are_in_plain_english() -> None:
    found = [
        f"{name(path)}:{number}: {match[0]!r} in {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in PATTERN.finditer(line)
    ]
    assert found == []
