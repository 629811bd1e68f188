"""The cursors of lists of notifications and broadcasts: a place in the order of time."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from api.problems import FieldError, invalid
from storage.queries import Position


def cursor_of(position: Position) -> str:
    """Return the `next_cursor` that requests what follows this position."""
    text = f"{position.accepted_at.isoformat()} {position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str) -> Position:
    """Return the position of a `next_cursor`. Raises Problem (422) for an invalid one."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        at, _, id = text.partition(" ")
        position = Position(datetime.fromisoformat(at), UUID(id))
        if position.accepted_at.tzinfo is None or not 2000 < position.accepted_at.year < 9000:
            raise ValueError(at)
    except (ValueError, binascii.Error):
        message = "invalid cursor: use the `next_cursor` of this list"
        raise invalid([FieldError("/query/cursor", "invalid_cursor", message)]) from None
    return position
