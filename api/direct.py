"""Routes that are asked thousands of times a second: what they take is handed to them, not solved anew."""

import json
from functools import cached_property
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import Handler, KeyedRoute
from api.requests import JsonRequest, require_json


class DirectRoute(KeyedRoute):
    """A keyed route whose endpoint takes `body`, `request`, `tenant` and `ctx`, and answers by itself.

    FastAPI makes the document of the signature, and checks the body as it does everywhere. Solving the
    other three for every request would cost more than accepting a notification does.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, without the exit stacks in which FastAPI keeps dependencies: here are none to end."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await self._answer(JsonRequest(scope, receive, send))
        await response(scope, receive, send)

    @cached_property
    def _answer(self) -> Handler:
        return self.get_route_handler()

    def readable(self, request: Request) -> Request:
        """The request itself, which reads JSON already. Raises Problem (400)."""
        require_json(request)
        return request

    def handler(self) -> Handler:
        """What reads the body and calls the endpoint."""
        endpoint, field = self.endpoint, self.body_field
        assert field is not None

        async def direct(request: Request) -> Response:
            body, errors = field.validate(await _value(request), {}, loc=("body",))
            if errors:
                raise RequestValidationError(errors)
            tenant, ctx = request.state.tenant, request.app.state.context
            return await endpoint(body=body, request=request, tenant=tenant, ctx=ctx)

        return direct


async def _value(request: Request) -> Any:
    """The body's value; an empty body has none. Raises what problems.install has an answer for."""
    try:
        if not await request.body():
            raise RequestValidationError([_error("missing", "Field required")])
        return await request.json()
    except json.JSONDecodeError as error:
        raise RequestValidationError([_error("json_invalid", error.msg, error.pos)]) from None
    except ClientDisconnect:
        raise HTTPException(400) from None


def _error(kind: str, message: str, *place: int) -> dict[str, Any]:
    return {"type": kind, "loc": ("body", *place), "msg": message}
