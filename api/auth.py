"""Authentication: `Authorization: Bearer hk_…`, where a key belongs to one tenant."""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from api.problems import Problem
from api.rate_limits import RateLimits
from api.requests import JsonRequest, refuse_unknown_query, require_json
from domain.access import Caller
from storage import api_keys

TTL_S: Final = 2.0
"""How long a key is cached: a revoked key stops working within this time."""
CACHED_MAX: Final = 10_000

StoredKey = tuple[Caller, bytes] | None
Lookup = Callable[[str], Awaitable[StoredKey]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_DOCUMENTED = HTTPBearer(
    auto_error=False, description="An API key, `hk_…`, created with `herald keys create`."
)


class Keys:
    """Looks up each key at most once per TTL_S, also when many requests need it at the same time."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._cached: OrderedDict[str, tuple[float, asyncio.Task[StoredKey]]] = OrderedDict()

    async def caller_of(self, authorization: str | None) -> Caller:
        """Return the holder of the header's key. Raises Problem (401)."""
        if authorization is None:
            raise _unauthorized("api_key_missing", "Send an API key as `Authorization: Bearer hk_…`.")
        scheme, _, key = authorization.partition(" ")
        parts = api_keys.split(key.strip()) if scheme.lower() == "bearer" else None
        if parts is None:
            raise _unauthorized(
                "api_key_invalid", "The Authorization header does not contain an API key (`hk_…`)."
            )
        prefix, digest = parts
        found = await self._find(prefix)
        if found is None or not hmac.compare_digest(found[1], digest):
            raise _unauthorized("api_key_invalid", "The API key is unknown or revoked.")
        return found[0]

    def knows(self, authorization: str | None) -> bool:
        """Return whether the header's key was valid lately, so that looking it up again is no guess."""
        parts = api_keys.split((authorization or "").partition(" ")[2].strip())
        return parts is not None and parts[0] in self._cached

    async def _find(self, prefix: str) -> StoredKey:
        now = monotonic()
        cached = self._cached.get(prefix)
        if cached is None or cached[0] <= now:
            task = asyncio.ensure_future(self._ask(prefix))
            self._cached[prefix] = cached = (now + TTL_S, task)
            self._cached.move_to_end(prefix)
            if len(self._cached) > CACHED_MAX:
                self._cached.popitem(last=False)
        task = cached[1]
        # Shielded: other requests may await the same look-up when this one is cancelled.
        return task.result() if task.done() else await asyncio.shield(task)

    async def _ask(self, prefix: str) -> StoredKey:
        try:
            found = await self._lookup(prefix)
        except BaseException:
            self._cached.pop(prefix, None)
            raise
        if found is None:
            # Not cached: a key that is created next must work at once.
            self._cached.pop(prefix, None)
        return found


class KeyedRoute(APIRoute):
    """A route that checks the API key before it reads anything else of the request."""

    def get_route_handler(self) -> Handler:
        handle = self.handler()
        known = [parameter.alias for parameter in self.dependant.query_params]

        async def authenticated(request: Request) -> Response:
            ctx = request.app.state.context
            caller = await _admitted(ctx.keys, ctx.rate_limits, request)
            request.state.caller, request.state.tenant = caller, caller.tenant
            refuse_unknown_query(request, known)
            response = await handle(self.readable(request))
            response.raw_headers += ctx.rate_limits.fields(caller)
            return response

        return authenticated

    def handler(self) -> Handler:
        """Return the handler of requests with a valid key."""
        return super().get_route_handler()

    def readable(self, request: Request) -> Request:
        """Return the request as the route reads it: its body is JSON. Raises Problem (400)."""
        require_json(request)
        return JsonRequest(request.scope, request.receive)


class StreamedRoute(KeyedRoute):
    """A keyed route that streams its body itself."""

    def readable(self, request: Request) -> Request:
        """Return the request unchanged."""
        return request


async def _admitted(keys: Keys, limits: RateLimits, request: Request) -> Caller:
    """Return the holder of the request's key. Raises Problem (401, 429)."""
    limits.check_address(request.scope)
    header = request.headers.get("authorization")
    if limits.is_failing(request.scope) and not keys.knows(header):
        limits.key_failed(request.scope)
    try:
        caller = await keys.caller_of(header)
    except Problem as problem:
        if problem.code == "api_key_invalid":
            limits.key_failed(request.scope)
        raise
    limits.check(caller)
    return caller


async def _tenant(request: Request, _: Annotated[Any, Security(_DOCUMENTED)]) -> str:
    return request.state.tenant


Tenant = Annotated[str, Depends(_tenant)]
"""The caller's tenant, as a parameter of a keyed route."""


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})
