"""The feature matrix of docs/providers/README.md, generated from the adapters' capabilities.

`python -m providers.matrix` writes it (`make docs`), and a guard test fails when it is stale.
"""

import re
from pathlib import Path

from providers.base import AmbiguityResolution, Capabilities
from providers.registry import VENDORS

PAGE = Path(__file__).parents[1] / "docs" / "providers" / "README.md"
BEGIN = "<!-- Generated from the adapters' capabilities: make docs -->"
END = "<!-- end -->"
COLUMNS = (
    "provider",
    "channel",
    "an ambiguous send",
    "visibility delay",
    "a copy replaces the first",
    "receipts",
    "polls",
    "callback signature",
    "sandbox",
)


def matrix() -> str:
    """The table, in the order of the registry."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(vendor.name, vendor.capabilities) for vendor in VENDORS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def renewed(page: str) -> str:
    """The page with an up-to-date table. Raises ValueError when the page has no place for it."""
    found, count = re.subn(
        rf"(?s){re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n\n{matrix()}\n\n{END}", page
    )
    if count != 1:
        raise ValueError(f"the page must contain {BEGIN} and {END} once")
    return found


def _row(name: str, known: Capabilities) -> tuple[str, ...]:
    return (
        f"[{name}]({name}.md)",
        known.channel.value,
        _resolved(known),
        _duration(known.visibility_delay_s),
        _yes(known.replaces),
        _yes(known.receipts),
        _yes(known.polls),
        known.signature or "–",
        known.sandbox or "–",
    )


def _resolved(known: Capabilities) -> str:
    match known.resolves:
        case AmbiguityResolution.IDEMPOTENT:
            return f"is repeated with our key, which is valid for {_duration(known.key_life_s)}"
        case AmbiguityResolution.LOOKUP:
            return f"is looked up by {known.matches_by}"
        case AmbiguityResolution.NONE:
            return "follows `on_unknown`"


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds else "–"


def _yes(has: bool) -> str:
    return "yes" if has else "–"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
