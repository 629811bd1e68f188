"""Routes whose requests the audit log records: who acts or reads, and why."""

import re
from typing import Annotated, Final
from urllib.parse import unquote

from fastapi import Depends, Header, Request, Response

from api.auth import Handler, KeyedRoute
from api.context import AppContext, Ctx
from api.problems import Problem
from api.request_ids import REQUEST_ID, request_id
from domain.access import Caller, Scope
from domain.audit import REASON_CHARS_MAX, Origin, ReasonMissing, justified
from telemetry.scrub import scrub

REASON: Final = "Herald-Reason"
_EXTENDED: Final = re.compile(r"utf-8'[a-z0-9-]*'", re.IGNORECASE)
"""How a percent-encoded value begins (RFC 8187): with the charset, and a language or none."""


class AuditedRoute(KeyedRoute):
    """A keyed route that returns the id under which the audit log knows the request."""

    def handler(self) -> Handler:
        """Return the handler of requests with a valid key."""
        handle = super().handler()

        async def identified(request: Request) -> Response:
            response = await handle(request)
            if id := request.scope["state"].get("request_id"):
                response.headers[REQUEST_ID] = id
            return response

        return identified


async def _origin(
    request: Request,
    _documented: Annotated[
        str | None,
        Header(
            alias=REASON,
            description=f"Why, for the audit log: at most {REASON_CHARS_MAX} characters in UTF-8, or "
            "percent-encoded after `UTF-8''` (RFC 8187).",
        ),
    ] = None,
) -> Origin:
    caller: Caller = request.state.caller
    return Origin(
        f"key:{caller.key}",
        scrub(caller.name),
        request.state.tenant,
        reason=_reason(request),
        request_id=request_id(request.scope),
    )


Source = Annotated[Origin, Depends(_origin)]
"""Who sent the request, as a parameter of an audited route. Raises Problem (400) for a malformed reason."""


async def _acting(origin: Source, ctx: Ctx) -> Origin:
    return require_reason(ctx, origin)


Acting = Annotated[Origin, Depends(_acting)]
"""Who acts, as a parameter of a route for operators. Raises Problem (400) if a required reason is missing."""


async def _acting_if_operator(request: Request, origin: Source, ctx: Ctx) -> Origin:
    return require_reason(ctx, origin) if may_operate(request) else origin


ActingIfOperator = Annotated[Origin, Depends(_acting_if_operator)]
"""As Acting if the key may operate, in a route that is the ordinary work of a client that only sends."""


def may_operate(request: Request) -> bool:
    """Whether the key of the request may operate."""
    caller: Caller = request.state.caller
    return Scope.OPERATE in caller.scopes


def require_reason(ctx: AppContext, origin: Origin) -> Origin:
    """Return the origin of an act. Raises Problem (400) if it lacks the reason that the settings require."""
    try:
        return justified(origin, required=ctx.reason_required)
    except ReasonMissing:
        message = f"This needs a reason: send it in the header `{REASON}`."
        raise Problem(400, "reason_missing", message) from None


def _reason(request: Request) -> str | None:
    """Return the reason, without addresses and credentials; None if there is none."""
    given = request.headers.getlist(REASON)
    if len(given) > 1:
        raise _invalid("there are several")
    text = _decoded(given[0]).strip() if given else ""
    if not text.isprintable():
        raise _invalid("it is not one line of printable text")
    if len(text) > REASON_CHARS_MAX:
        raise _invalid(f"it is longer than {REASON_CHARS_MAX} characters")
    return scrub(text) or None


def _decoded(value: str) -> str:
    if extended := _EXTENDED.match(value):
        try:
            return unquote(value[extended.end() :], errors="strict")
        except UnicodeDecodeError:
            raise _invalid("what it percent-encodes is not UTF-8") from None
    raw = value.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return value


def _invalid(why: str) -> Problem:
    return Problem(400, "reason_invalid", f"The header `{REASON}` cannot be used: {why}.")
