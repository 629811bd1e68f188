"""The cursors of lists, newest first: the time of the last object shown, and what names it."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from api.problems import FieldError, Problem, invalid
from storage.queries import Position


def cursor_at(at: datetime, name: object) -> str:
    """Return the `next_cursor` that requests what follows an object."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {name}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Return the time and the name in a `next_cursor`. Raises Problem (422) for an invalid one."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        time, _, name = text.partition(" ")
        at = datetime.fromisoformat(time)
        if at.tzinfo is None or not 2000 < at.year < 9000:
            raise ValueError(time)
    except (ValueError, binascii.Error):
        raise invalid_cursor() from None
    return at, name


def cursor_of(position: Position) -> str:
    """Return the `next_cursor` that requests what follows this position."""
    return cursor_at(position.accepted_at, position.id)


def position_of(cursor: str) -> Position:
    """Return the position of a `next_cursor`. Raises Problem (422) for an invalid one."""
    at, name = read_cursor(cursor)
    try:
        return Position(at, UUID(name))
    except ValueError:
        raise invalid_cursor() from None


def invalid_cursor() -> Problem:
    """Build the problem for a cursor that no list returned."""
    message = "invalid cursor: use the `next_cursor` of this list"
    return invalid([FieldError("/query/cursor", "invalid_cursor", message)])
