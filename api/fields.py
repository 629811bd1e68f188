"""The types of values in requests: each refuses what cannot be stored."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)
from pydantic_core import PydanticCustomError

from domain.contacts import (
    InvalidContact,
    UnstorableText,
    normalise_email,
    normalise_phone,
    refuse_unstorable,
    refuse_unstorable_json,
)
from domain.preferences import InvalidPreference, check_time_zone, parse_local_time
from domain.templates import TITLE_CHARS_MAX, is_one_line
from domain.web_push import InvalidSubscription, check_endpoint, check_public_key, check_secret

METADATA_BYTES_MAX: Final = 16_384
METADATA_DEPTH_MAX: Final = 16
RATE_PER_S_MIN: Final = 0.001
"""Once in a quarter of an hour, about. With a much lower rate, the time of the second is never."""


def _storable(value: Any) -> Any:
    try:
        return refuse_unstorable(value) if isinstance(value, str) else value
    except UnstorableText as error:
        raise PydanticCustomError("not_storable", "{reason}", {"reason": str(error)}) from None


def _storable_json(value: dict[str, Any]) -> dict[str, Any]:
    # First of all: it bounds the work that follows.
    if _depth(value) > METADATA_DEPTH_MAX:
        raise PydanticCustomError("too_deep", "at most {max} levels deep", {"max": METADATA_DEPTH_MAX})
    try:
        refuse_unstorable_json(value)
    except UnstorableText as error:
        raise PydanticCustomError("not_storable", "{reason}", {"reason": str(error)}) from None
    text = json.dumps(value, separators=(",", ":"))
    if len(text) + (_zeros(value) if "e+" in text or "e-" in text else 0) > METADATA_BYTES_MAX:
        raise _metadata_too_long()
    return value


def _zeros(value: Any) -> int:
    """Return how many zeros the exponents in a JSON value stand for: Postgres writes all 300 of 1e300."""
    zeros, pending = 0, [value]
    while pending:
        item = pending.pop()
        if isinstance(item, float):
            zeros += abs(int(repr(item).partition("e")[2] or 0))
        elif isinstance(item, dict | list):
            pending.extend(item.values() if isinstance(item, dict) else item)
    return zeros


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested; without recursion, and stopping above the limit.

    Raises PydanticCustomError for more values than fit into METADATA_BYTES_MAX.
    """
    level, depth, count = [value], 0, 0
    while level and depth <= METADATA_DEPTH_MAX:
        count += len(level)
        # Each value takes a byte at least, and a comma.
        if count > METADATA_BYTES_MAX // 2:
            raise _metadata_too_long()
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth


def _metadata_too_long() -> PydanticCustomError:
    message = "at most {max} bytes as JSON, where 1e300 counts with all its zeros"
    return PydanticCustomError("too_long", message, {"max": METADATA_BYTES_MAX})


def _time_text(value: Any) -> Any:
    # By default, pydantic would also read numbers, and strings of digits, as Unix times.
    if isinstance(value, str) and "T" not in value.upper():
        raise PydanticCustomError("invalid_time", "expected RFC 3339, such as 2026-11-22T18:30:00Z")
    if not isinstance(value, str | datetime):
        raise PydanticCustomError(
            "invalid_time", "expected a string in RFC 3339, such as 2026-11-22T18:30:00Z"
        )
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("invalid_time", "the time is out of range") from None


def _phone(text: str) -> str:
    try:
        return normalise_phone(text)
    except InvalidContact as error:
        raise PydanticCustomError("invalid_contact", "{reason}", {"reason": str(error)}) from None


def _email(text: str) -> str:
    try:
        return normalise_email(text)
    except InvalidContact as error:
        raise PydanticCustomError("invalid_contact", "{reason}", {"reason": str(error)}) from None


def _of_subscription(check: Callable[[str], str]) -> AfterValidator:
    def checked(text: str) -> str:
        try:
            return check(text)
        except InvalidSubscription as error:
            raise PydanticCustomError("invalid_subscription", "{reason}", {"reason": str(error)}) from None

    return AfterValidator(checked)


def _time_zone(name: str) -> str:
    try:
        return check_time_zone(name)
    except InvalidPreference as error:
        raise PydanticCustomError("invalid_preference", "{reason}", {"reason": str(error)}) from None


def _local_time(text: str) -> str:
    try:
        return f"{parse_local_time(text):%H:%M}"
    except InvalidPreference as error:
        raise PydanticCustomError("invalid_preference", "{reason}", {"reason": str(error)}) from None


def _one_line(text: str) -> str:
    if not is_one_line(text):
        raise PydanticCustomError("not_one_line", "a title must be one line, without control characters")
    return text


Storable = BeforeValidator(_storable)
"""Refuses text that cannot be stored. Last in an annotation: length bounds after it would count items."""

Text = Annotated[str, Storable]
Title = Annotated[str, Field(min_length=1, max_length=TITLE_CHARS_MAX), AfterValidator(_one_line), Storable]
"""A mail's subject or its template. It is one line, since a line break could add header fields."""
Name = Annotated[str, Field(min_length=1, max_length=255), Storable]
"""An identifier chosen by a client."""

Time = Annotated[
    AwareDatetime,
    BeforeValidator(_time_text),
    AfterValidator(_in_utc),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T18:30:00Z"]),
]
"""RFC 3339 with an offset, converted to UTC."""

Phone = Annotated[str, Field(max_length=64, examples=["+2348031236789"]), AfterValidator(_phone)]
Email = Annotated[str, Field(max_length=320, examples=["ada@example.com"]), AfterValidator(_email)]
Token = Annotated[str, Field(min_length=1, max_length=4096), Storable]
Endpoint = Annotated[str, _of_subscription(check_endpoint)]
PublicKey = Annotated[str, Field(max_length=96), _of_subscription(check_public_key)]
SharedSecret = Annotated[str, Field(max_length=32), _of_subscription(check_secret)]
Address = Annotated[str, Field(min_length=1, max_length=4096), Storable]
"""An address on the channel that is given with it."""

TimeZone = Annotated[
    str, Field(max_length=64, examples=["Africa/Lagos"]), Storable, AfterValidator(_time_zone)
]
LocalTime = Annotated[str, Field(max_length=5, examples=["22:00"]), AfterValidator(_local_time)]
Metadata = Annotated[dict[str, Any], AfterValidator(_storable_json)]


# The same time often occurs several times in one request or response.
@lru_cache(maxsize=256)
def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Shown = Annotated[
    datetime, PlainSerializer(_iso, when_used="json"), Field(examples=["2026-11-22T18:30:00.000Z"])
]
"""A time in a response: RFC 3339, in UTC, to the millisecond."""


class Request(BaseModel):
    """A request's body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")
