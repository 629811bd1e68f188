"""How large a request's body may be, by its path."""

import re
from typing import Final

BODY_BYTES_MAX: Final = 1_000_000
AUDIENCE_BYTES_MAX: Final = 2_000_000_000
"""Of an uploaded audience, which is read as a stream and never whole in memory."""
UNSUBSCRIBE_BYTES_MAX: Final = 4_000
"""Of a click: anybody may send one, and it says nothing."""
_AUDIENCE: Final = re.compile(r"/v1/broadcasts/[^/]+/audience")


def bytes_max(path: str) -> int:
    """How many bytes the body of a request to this path may have."""
    if path.startswith("/v1/unsubscribe/"):
        return UNSUBSCRIBE_BYTES_MAX
    return AUDIENCE_BYTES_MAX if _AUDIENCE.fullmatch(path) else BODY_BYTES_MAX


def too_large_message(path: str) -> str:
    """What is said of a body that has more."""
    if _AUDIENCE.fullmatch(path):
        return f"The audience is larger than {AUDIENCE_BYTES_MAX // 1_000_000_000} GB."
    return f"The body is larger than {'1 MB' if bytes_max(path) == BODY_BYTES_MAX else '4 kB'}."
