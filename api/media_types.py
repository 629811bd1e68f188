"""The media type and the charset that a request declares for its body (RFC 9110, section 8.3)."""

import re
from typing import Final

from api.problems import Problem

DECLARED_CHARS_MAX: Final = 256
"""A longer Content-Type is refused: no client needs one."""
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*(?:\"([^\"]*)\"|([^\s;]*))", re.IGNORECASE)


def declared(content_type: str) -> tuple[str, str]:
    """The media type and the charset, in lower case; UTF-8 if none is named.

    Raises Problem (400) for a header that is too long.
    """
    if len(content_type) > DECLARED_CHARS_MAX:
        detail = f"The Content-Type has more than {DECLARED_CHARS_MAX} characters."
        raise Problem(400, "content_type", detail)
    charset = _CHARSET.search(content_type)
    named = (charset[1] or charset[2] or "") if charset else "utf-8"
    return content_type.partition(";")[0].strip().lower(), named.strip().lower()


def is_utf_8(charset: str) -> bool:
    """Whether this is a name of UTF-8."""
    return charset in ("utf-8", "utf8")
