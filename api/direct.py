"""Routes called thousands of times a second, without FastAPI's solving of dependencies."""

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
    """A keyed route that calls its endpoint with `body`, `request`, `tenant` and `ctx`, and nothing else.

    It exists because solving dependencies and opening exit stacks for each request costs more than accepting
    a notification does; the OpenAPI document and the validation of the body are still FastAPI's. The cost is
    a reimplementation of FastAPI's request handling (`handle`, `body_field`, `_value`): compare it with
    `fastapi.routing` at every upgrade, and give these endpoints no other dependencies.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without the exit stacks that close FastAPI's dependencies: nothing here needs closing."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await self._answer(JsonRequest(scope, receive, send))
        await response(scope, receive, send)

    @cached_property
    def _answer(self) -> Handler:
        return self.get_route_handler()

    def readable(self, request: Request) -> Request:
        """Return the request, which already reads JSON. Raises Problem (400)."""
        require_json(request)
        return request

    def handler(self) -> Handler:
        """Return the handler that validates the body and calls the endpoint."""
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
    """Read the body's value; an empty body is a missing one. Raises errors that problems.install handles."""
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
