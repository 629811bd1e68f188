"""What a request must be before its route sees it: JSON in UTF-8, without unknown query parameters."""

import asyncio
import json
import sys
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from fastapi import Request

from api.body_sizes import values_max
from api.media_types import declared, is_utf_8
from api.problems import FieldError, Problem, invalid, pointer

_BODILESS: Final = ("GET", "DELETE")
_CONTAINERS: Final = (dict, list)
_UNCOUNTED_BYTES: Final = 8_192
"""A shorter body cannot have more values than any path allows."""


class JsonRequest(Request):
    """A request whose body is JSON in UTF-8 (RFC 8259, section 8.1); a byte order mark is ignored."""

    async def json(self) -> Any:
        """Return the body's value. Raises Problem (400), or json.JSONDecodeError if it is not JSON."""
        body = await self.body()
        # UTF-16 of plain text is often valid UTF-8 too, with a NUL in every other byte.
        if not json.detect_encoding(body).startswith("utf-8"):
            raise _not_utf_8("The body")
        try:
            value = json.loads(body.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise _not_utf_8("The body") from None
        except RecursionError:
            raise Problem(400, "too_deep", "The body is nested too deeply.") from None
        except json.JSONDecodeError:
            raise
        except ValueError:
            digits = sys.get_int_max_str_digits()
            detail = f"The body contains an integer of more than {digits} digits."
            raise Problem(400, "number_too_long", detail) from None
        if len(body) > _UNCOUNTED_BYTES:
            # Reading a large body and validating it would together hold the event loop for too long.
            await asyncio.sleep(0)
            limit = values_max(self.scope["path"])
            if values_max_in(body) > limit and has_more_values(value, limit):
                raise too_many_values(limit)
        return value


def values_max_in(body: bytes) -> int:
    """Return how many values this JSON may have at most, at all levels."""
    # Every value but the first follows one of these characters; strings may contain them as well.
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{")


def has_more_values(value: Any, limit: int) -> bool:
    """Return whether a JSON value consists of more than `limit` values, counted at all levels."""
    count, level = 1, [value] if type(value) in _CONTAINERS else []
    while level:
        count += sum(map(len, level))
        if count > limit:
            return True
        # JSON has no subclasses of these types.
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) in _CONTAINERS
        ]
    return False


def too_many_values(limit: int) -> Problem:
    """Build the problem for JSON whose validation would hold the event loop for too long."""
    return Problem(400, "too_many_values", f"The JSON has more than {limit} values, counted at all levels.")


def require_json(request: Request) -> None:
    """Refuse a body that is declared as anything but JSON in UTF-8. Raises Problem (400)."""
    given = request.headers.get("content-type")
    if given is None or given == "application/json" or request.method in _BODILESS:
        return
    media_type, charset = declared(given)
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Problem(400, "content_type", "Send the body as JSON, with `Content-Type: application/json`.")
    if not is_utf_8(charset):
        raise _not_utf_8("The charset of the Content-Type header")


def require_utf_8_url(request: Request) -> None:
    """Refuse a URL whose escapes are not UTF-8: two users' ids would be read as one. Raises Problem (400)."""
    url: bytes = request.scope["raw_path"] + b"?" + request.scope["query_string"]
    if b"%" not in url:
        return
    try:
        unquote_to_bytes(url).decode()
    except UnicodeDecodeError:
        raise Problem(400, "charset", "The URL is not UTF-8: percent-encode the bytes of UTF-8.") from None


def refuse_unknown_query(request: Request, known: Collection[str]) -> None:
    """Refuse unknown parameters: a misspelt filter would match everything. Raises Problem (422)."""
    if not request.scope["query_string"]:
        return
    message = (
        f"unknown parameter; expected one of {', '.join(known)}" if known else "no parameters are allowed"
    )
    unknown = [
        FieldError(pointer("query", name), "unknown_field", message)
        for name in request.query_params
        if name not in known
    ]
    if unknown:
        raise invalid(unknown)


def _not_utf_8(what: str) -> Problem:
    return Problem(400, "charset", f"{what} is not UTF-8: send JSON in UTF-8.")
