"""Errors as RFC 9457 problem details: `application/problem+json` with a stable `code`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from api.body_sizes import too_large_message
from api.methods import allowed
from storage.group import CommitUnknown, LedgerError, QueueFull
from storage.postgres import NOT_STORABLE, UNREACHABLE

MEDIA_TYPE: Final = "application/problem+json"
PRIVATE: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""The headers of every response: most of them hold personal data."""
RETRY_AFTER_S: Final = 1
ERRORS_MAX: Final = 20
"""How many errors a problem lists; it counts the rest."""
POINTER_CHARS_MAX: Final = 200
MESSAGE_CHARS_MAX: Final = 500
_EXAMINED_MAX: Final = 1_000
"""With more errors than this, they are only counted: describing them would hold the event loop."""

STATUS_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    413: "body_too_large",
    422: "validation_failed",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}

VALIDATION_CODES: Final[Mapping[str, str]] = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "enum": "not_one_of",
    "literal_error": "not_one_of",
    "too_long": "too_long",
    "string_too_long": "too_long",
    "too_short": "too_short",
    "string_too_short": "too_short",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "value_error": "invalid",
    "timezone_aware": "invalid_time",
    "datetime_parsing": "invalid_time",
    "datetime_from_date_parsing": "invalid_time",
}
"""The codes of pydantic's error types. Our types (PydanticCustomError) are codes already."""

_OWN_TYPES: Final = frozenset(
    {
        "required",
        "not_storable",
        "not_one_line",
        "invalid_time",
        "not_unique",
        "too_deep",
        "invalid_contact",
        "invalid_subscription",
        "invalid_preference",
        "quiet_hours_empty",
        "template_invalid",
        "window_empty",
    }
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error in a request. `pointer` is a JSON pointer (RFC 6901) into the body, or starts with `/query`,
    `/path` or `/header`.
    """

    pointer: str
    code: str
    message: str

    def __post_init__(self) -> None:
        """Shorten what may repeat a part of the request."""
        object.__setattr__(self, "pointer", _shortened(self.pointer, POINTER_CHARS_MAX))
        object.__setattr__(self, "message", _shortened(self.message, MESSAGE_CHARS_MAX))


def _shortened(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


class Problem(Exception):
    """An error response. It lists the first ERRORS_MAX errors and counts the rest, with `omitted`."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        omitted: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = _shortened(detail, POINTER_CHARS_MAX + MESSAGE_CHARS_MAX)
        self.errors = tuple(errors[:ERRORS_MAX])
        self.omitted = omitted + len(errors) - len(self.errors)
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Return the problem details object."""
        document: dict[str, Any] = {
            "type": f"urn:herald:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            document["errors"] = [
                {"pointer": error.pointer, "code": error.code, "message": error.message}
                for error in self.errors
            ]
        if self.omitted:
            document["errors_omitted"] = self.omitted
        return document

    def response(self) -> Response:
        """Return the response. It is ASCII only: a pointer may name a field that UTF-8 cannot encode."""
        return Response(
            json.dumps(self.document()).encode("ascii"),
            status_code=self.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


class FieldErrorView(BaseModel):
    """One error in a request."""

    pointer: str = Field(examples=["/to/sms"])
    code: str = Field(examples=["invalid_contact"])
    message: str


class ProblemView(BaseModel):
    """RFC 9457 problem details. `code` is stable; `detail` is for humans and may change."""

    type: str = Field(examples=["urn:herald:problem:validation_failed"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["validation_failed"])
    errors: Annotated[list[FieldErrorView], Field(max_length=ERRORS_MAX)] = []
    errors_omitted: int = Field(default=0, description="How many further errors there are.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these problems."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemView"}}
    return {
        status: {
            "model": ProblemView,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: schema},
        }
        for status in statuses
    }


def invalid(errors: Sequence[FieldError], omitted: int = 0) -> Problem:
    """Build the problem for a request that was read but is not valid. `omitted`: how many more errors
    there are.
    """
    first = errors[0]
    detail = f"{first.pointer or 'body'}: {first.message}"
    return Problem(422, "validation_failed", detail, errors=errors, omitted=omitted)


def invalid_body(error: ValidationError) -> Problem:
    """Build the problem for a part of a body that is not valid; pointers start within that part."""
    count = error.error_count()
    if count > _EXAMINED_MAX:
        message = f"{count} errors: correct the form of the request"
        return invalid([FieldError("", "too_many_errors", message)])
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return invalid(field_errors(found[:ERRORS_MAX], in_body=True), max(0, count - ERRORS_MAX))


def unavailable(error: BaseException) -> Problem:
    """Build the problem for a ledger that cannot be reached; repeating the request is safe."""
    code = "ledger_unavailable"
    if isinstance(error, QueueFull):
        code = "overloaded"
    elif isinstance(error, CommitUnknown):
        code = "commit_unknown"
    detail = {
        "overloaded": "Too many requests are queued. Nothing was accepted; retry shortly.",
        "commit_unknown": "The connection to the database was lost during the write, so it is unknown "
        "whether the request was stored. Repeat it with the same idempotency key: it is stored once.",
        "ledger_unavailable": "The database cannot be reached. Retry shortly with the same idempotency key.",
    }[code]
    return Problem(503, code, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def field_errors(errors: Sequence[Any], *, in_body: bool = False) -> list[FieldError]:
    """Convert pydantic's errors, without the input. `in_body`: their locations start within the body."""
    return [
        FieldError(
            _place(error["loc"] if not in_body else ("body", *error["loc"]), error["type"]),
            _code(error["type"]),
            error["msg"].removeprefix("Value error, "),
        )
        for error in errors
    ]


def _code(kind: str) -> str:
    if kind in _OWN_TYPES or kind.startswith("unknown_"):
        return kind
    return VALIDATION_CODES.get(kind, "wrong_type" if kind.endswith("_type") else "invalid")


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of these names and indexes."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped)


def _place(location: Sequence[str | int], kind: str) -> str:
    parts = list(location)
    if parts and parts[0] == "body":
        del parts[0]
    # pydantic marks an object's key, as opposed to its value, like this; a field may have this name too.
    if parts and parts[-1] == "[key]" and kind != "extra_forbidden":
        del parts[-1]
    return pointer(*parts)


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem."""

    def problem(request: Request, error: Problem) -> Response:
        return error.response()

    def validation(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if any(item["type"] == "json_invalid" for item in errors):
            position = errors[0]["loc"][-1]
            malformed = Problem(400, "malformed_json", f"The body is not JSON (at position {position}).")
            return problem(request, malformed)
        more = max(0, len(errors) - ERRORS_MAX)
        return problem(request, invalid(field_errors(errors[:ERRORS_MAX]), more))

    def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, Problem):
            # FastAPI wraps every error that occurs while it reads the body.
            return problem(request, error.__cause__)
        code = STATUS_CODES.get(error.status_code, "error")
        detail = HTTPStatus(error.status_code).phrase
        headers = dict(error.headers or {})
        if error.status_code == 400:
            detail = "The body could not be read."
        elif error.status_code == 404:
            detail = "There is no such route."
        elif error.status_code == 413:
            detail = too_large_message(request.scope["path"])
        elif error.status_code == 405:
            # The router lists only the methods of the first route that matches the path.
            headers["Allow"] = allowed(app, request.scope)
        return problem(request, Problem(error.status_code, code, detail, headers=headers))

    def ledger(request: Request, error: Exception) -> Response:
        return problem(request, unavailable(error))

    def unstorable(request: Request, error: Exception) -> Response:
        detail = "The request contains a value that cannot be stored."
        return problem(request, Problem(422, "not_storable", detail))

    handlers: list[tuple[type[Exception], Any]] = [
        (Problem, problem),
        (RequestValidationError, validation),
        (HTTPException, http),
        *((kind, ledger) for kind in (LedgerError, *UNREACHABLE)),
        *((kind, unstorable) for kind in NOT_STORABLE),
    ]
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)
