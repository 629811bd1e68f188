"""The id of a request: the client's, or else one that is made once something needs it.

Most requests need none: only audit entries, errors and log lines name it.
"""

import re
import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

REQUEST_ID: Final = "X-Request-Id"
_GIVEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""W3C Trace Context, section 3.2: the id of the trace is the second part."""


def request_id(scope: Scope) -> str:
    """Return the request's id: `X-Request-Id`, or the trace of `traceparent`, if well-formed; else a new one.

    It is the same whenever it is asked for.
    """
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        headers = Headers(scope=scope)
        if _GIVEN.fullmatch(given := headers.get("x-request-id", "")):
            state["request_id"] = given
        elif trace := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
            state["request_id"] = trace[1]
        else:
            state["request_id"] = secrets.token_hex(16)
    return state["request_id"]
