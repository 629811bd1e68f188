"""Why an operator acts, for the audit log: given with `--reason`, or asked for on a terminal."""

import sys
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

import typer

from console.errors import CommandError
from domain.audit import REASON_CHARS_MAX

Why = Annotated[
    str | None, typer.Option("--reason", help="Why, for the audit log. Asked for on a terminal if omitted.")
]


def asked(given: str | None) -> str | None:
    """The reason that was given, or is typed now if there is a terminal; None if there is none.

    Raises CommandError for one that the audit log cannot hold.
    """
    if given is None and sys.stdin.isatty() and sys.stderr.isatty():
        given = typer.prompt("Reason (for the audit log)", default="", show_default=False, err=True)
    text = (given or "").strip()
    if not text.isprintable() or len(text) > REASON_CHARS_MAX:
        raise CommandError(
            f"The reason cannot be recorded. Use one line of at most {REASON_CHARS_MAX} printable characters."
        )
    return text or None


def header(given: str | None) -> Mapping[str, str]:
    """The header that carries the reason to the API; see `asked`."""
    text = asked(given)
    if text is None:
        return {}
    # RFC 8187 for what a header cannot carry, and for what it would be mistaken for.
    plain = text.isascii() and not text.lower().startswith("utf-8'")
    return {"Herald-Reason": text if plain else f"UTF-8''{quote(text)}"}
