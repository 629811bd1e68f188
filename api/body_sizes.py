"""The maximum size of a request's body, and of the JSON value in it, by its path."""

import re
from typing import Final

BODY_BYTES_MAX: Final = 1_000_000
AUDIENCE_BYTES_MAX: Final = 2_000_000_000
"""For an uploaded audience, which is read as a stream and never whole in memory."""
UNSUBSCRIBE_BYTES_MAX: Final = 4_000
"""For a click on an unsubscribe link: anyone may send one, and its body is not used."""
VALUES_MAX: Final = 10_000
"""More than any single object needs: metadata of 16 kB has at most 8,192 values."""
LIST_VALUES_MAX: Final = 100_000
_LISTS: Final = frozenset({"/v1/notifications/batch", "/v1/broadcasts"})
_AUDIENCE: Final = re.compile(r"/v1/broadcasts/[^/]+/audience")


def bytes_max(path: str) -> int:
    """Return the maximum size of a body for this path, in bytes."""
    if path.startswith("/v1/unsubscribe/"):
        return UNSUBSCRIBE_BYTES_MAX
    return AUDIENCE_BYTES_MAX if _AUDIENCE.fullmatch(path) else BODY_BYTES_MAX


def values_max(path: str) -> int:
    """Return the maximum number of values, at all levels, in the JSON of a body for this path."""
    return LIST_VALUES_MAX if path in _LISTS else VALUES_MAX


def too_large_message(path: str) -> str:
    """Return the error message for a larger body."""
    if _AUDIENCE.fullmatch(path):
        return f"The audience is larger than {AUDIENCE_BYTES_MAX // 1_000_000_000} GB."
    return f"The body is larger than {'1 MB' if bytes_max(path) == BODY_BYTES_MAX else '4 kB'}."
