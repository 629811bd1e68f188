"""The id of a request: the client's, or else one that is made once something needs it.

Most requests need none: only audit entries, errors and log lines name it.
"""

import re
import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from telemetry.scrub import scrub

REQUEST_ID: Final = "X-Request-Id"
REQUEST_ID_RAW: Final = REQUEST_ID.lower().encode()
_GIVEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]+[-. ]")
"""What may precede a number in an id, which would then be taken for a part of the id."""
_ALONE: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{11,15}(?![0-9A-Za-z])")
"""Digits that may be a number, whatever precedes them."""
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""W3C Trace Context, section 3.2: the id of the trace is the second part."""


def request_id(scope: Scope) -> str:
    """Return the request's id: `X-Request-Id`, or the trace of `traceparent`, if well-formed; else a new one.

    It is the same whenever it is asked for. An `X-Request-Id` that holds an address, a phone number or a
    credential counts as malformed, because the audit log keeps the id for ever.
    """
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        if _GIVEN.fullmatch(given) and not _is_private(given):
            state["request_id"] = given
        elif trace := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
            state["request_id"] = trace[1]
        else:
            state["request_id"] = new_request_id()
    return state["request_id"]


def new_request_id() -> str:
    """Return an id for a request that names none, or that was not read."""
    return secrets.token_hex(16)


def _is_private(given: str) -> bool:
    rest = _UUID.sub("", given).replace("_", " ")
    words = _WORD.sub(" ", rest)
    return scrub(given) != given or scrub(words) != words or _ALONE.search(rest) is not None
