"""Terminal output (coloured statuses, readable times, narrow tables), and parsing of typed times."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.errors import CommandError

_COLOURS: Final = {
    **dict.fromkeys(("delivered", "accepted", "active", "closed"), "green"),
    **dict.fromkeys(("dead_lettered", "outcome_unknown", "failed", "undelivered", "open"), "red"),
    **dict.fromkeys(("deferred", "sending", "scheduled", "half_open", "drained"), "yellow"),
    **dict.fromkeys(("unavailable", "throttled", "rejected", "ambiguous", "not_sent", "unknown"), "yellow"),
    **dict.fromkeys(("cancelled", "expired", "suppressed", "rate_limited", "waiting", "off"), "bright_black"),
}
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RELATIVE: Final = re.compile(r"(\d{1,7})([smhd])")
_PIPE_WIDTH: Final = 200
"""Columns of a table that is written to a pipe or a file."""


def say(*lines: Any) -> None:
    """Print lines and tables to stdout."""
    # Created on each call: stdout may have been replaced since this module was imported.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())
    for line in lines:
        console.print(line, markup=False) if isinstance(line, str) else console.print(line)


def say_json(document: Any) -> None:
    """Print JSON to stdout, for other programs."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def table(*headings: str) -> Table:
    """An empty table with these columns. The last one takes the remaining width."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings[:-1]:
        made.add_column(heading, overflow="fold", no_wrap=heading == "id")
    made.add_column(headings[-1], overflow="fold")
    return made


def coloured(word: str | None) -> Text:
    """A status, outcome or state in its colour, as a table cell."""
    return Text(word or "", style=_COLOURS.get(word or "", ""))


def row(made: Table, cells: Sequence[Any]) -> None:
    """Add a row; None is an empty cell. Texts are printed literally, because clients wrote them."""
    made.add_row(
        *(cell if isinstance(cell, Text) else Text("" if cell is None else visible(cell)) for cell in cells)
    )


def visible(value: object) -> str:
    """The text of a value, with escapes for characters that would act on the terminal or cannot be seen."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def parse_time(text: str) -> datetime:
    """Parse a time as the API writes it."""
    return datetime.fromisoformat(text)


def short_time(at: str | None) -> str:
    """A time of the API for a table cell: UTC, to the second."""
    return f"{parse_time(at).astimezone(UTC):%m-%d %H:%M:%S}" if at else ""


def ago(at: datetime, now: datetime) -> str:
    """A time relative to now: `5 min ago`, or `in 5 min`."""
    seconds = (now - at).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def duration(seconds: float) -> str:
    """A duration in the largest unit that fits, e.g. `3.2 s`, `5 min`, `2.5 h`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f}".removesuffix(".0") + f" {unit}"
    return "0 s"


def since(at: datetime, start: datetime) -> str:
    """A time relative to the acceptance, to the millisecond within the first ten minutes."""
    seconds = (at - start).total_seconds()
    return f"+{seconds:.3f} s" if seconds < 600 else f"+{duration(seconds)}"


def later(text: str | None, now: datetime) -> str | None:
    """Parse a typed time: RFC 3339, or a duration from now (`10m`, `2h`). Raises CommandError."""
    return _typed(text, now, 1)


def earlier(text: str | None, now: datetime) -> str | None:
    """Parse a typed time: RFC 3339, or a duration before now (`10m`, `2h`). Raises CommandError."""
    return _typed(text, now, -1)


def _typed(text: str | None, now: datetime, direction: int) -> str | None:
    if text is None:
        return None
    try:
        if match := _RELATIVE.fullmatch(text.strip()):
            seconds = int(match[1]) * _UNITS_S[match[2]]
            return (now + direction * timedelta(seconds=seconds)).isoformat()
        # A time without an offset is in this machine's time zone.
        return parse_time(text.strip()).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise CommandError(
            f"{text!r} is not a time. Use RFC 3339 (2026-11-22T18:30:00Z), or a duration such as 30s, 10m, "
            "2h or 3d."
        ) from None


def now() -> datetime:
    """The current time, by this machine's clock."""
    return datetime.now(UTC)
