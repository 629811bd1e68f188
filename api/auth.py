"""Authentication: `Authorization: Bearer hk_…`, where a key belongs to a tenant or to the installation."""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from api.access import access_of, admit
from api.problems import Problem
from api.rate_limits import RateLimits
from api.requests import JsonRequest, refuse_unknown_query, require_json, require_utf_8_url
from domain.access import Caller, Scope
from domain.key_format import is_intact, split
from storage.api_keys import StoredKey

TTL_S: Final = 2.0
"""How long a key is cached: a revoked key stops working within this time."""
CACHED_MAX: Final = 10_000

Lookup = Callable[[str], Awaitable[StoredKey | None]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_DOCUMENTED = HTTPBearer(
    auto_error=False, description="An API key, `hk_…`, created with `herald keys create`."
)


@dataclass(slots=True)
class _Cached:
    """A look-up that many requests may share. `until`: when it is repeated (monotonic seconds)."""

    until: float
    task: asyncio.Task[StoredKey | None]
    noted: bool = False
    """Whether the key's use was noted since this look-up."""


class Keys:
    """Looks up each key at most once per TTL_S, also when many requests need it at the same time.

    `note_use` is called with the prefix of a key that is used, at most once per look-up.
    """

    def __init__(self, lookup: Lookup, note_use: Callable[[str], None] = lambda _: None) -> None:
        self._lookup = lookup
        self._note_use = note_use
        self._cached: OrderedDict[str, _Cached] = OrderedDict()

    async def caller_of(self, authorization: str | None) -> Caller:
        """Return the holder of the header's key. Raises Problem (401)."""
        if authorization is None:
            raise _unauthorized("api_key_missing", "Send an API key as `Authorization: Bearer hk_…`.")
        scheme, _, key = authorization.partition(" ")
        key = key.strip(" \t")
        parts = split(key) if scheme.lower() == "bearer" else None
        if parts is None:
            raise _unauthorized(
                "api_key_invalid", "The Authorization header does not contain an API key (`hk_…`)."
            )
        prefix, digest = parts
        cached = self._cached.get(prefix)
        if cached is None or cached.until <= monotonic():
            # Only before a look-up: a key with the right digest is intact.
            _check_intact(key)
            cached = self._begin(prefix)
        # Shielded: other requests may await the same look-up when this one is cancelled.
        found = cached.task.result() if cached.task.done() else await asyncio.shield(cached.task)
        if found is None or not hmac.compare_digest(found.digest, digest):
            _check_intact(key)
            raise revoked()
        if found.valid_s is not None and found.valid_s <= 0:
            raise _unauthorized(
                "api_key_expired", f"The API key expired at {found.expires_at:%Y-%m-%d %H:%M} UTC."
            )
        if not cached.noted:
            cached.noted = True
            self._note_use(prefix)
        return found.caller

    def knows(self, authorization: str | None) -> bool:
        """Return whether the header's key was valid lately, so that looking it up again is no guess."""
        parts = split((authorization or "").partition(" ")[2].strip(" \t"))
        return parts is not None and parts[0] in self._cached

    def _begin(self, prefix: str) -> _Cached:
        cached = _Cached(monotonic() + TTL_S, asyncio.ensure_future(self._ask(prefix)))
        self._cached[prefix] = cached
        self._cached.move_to_end(prefix)
        if len(self._cached) > CACHED_MAX:
            self._cached.popitem(last=False)
        return cached

    async def _ask(self, prefix: str) -> StoredKey | None:
        asked = monotonic()
        try:
            found = await self._lookup(prefix)
        except BaseException:
            self._cached.pop(prefix, None)
            raise
        if found is None:
            # Not cached: a key that is created next must work at once.
            self._cached.pop(prefix, None)
        elif found.valid_s is not None and found.valid_s > 0 and (cached := self._cached.get(prefix)):
            # Asked again as soon as it expires: the database's clock decides.
            cached.until = min(cached.until, asked + found.valid_s)
        return found


class KeyedRoute(APIRoute):
    """A route that checks the API key, and what it allows, before it reads anything else of the request."""

    def get_route_handler(self) -> Handler:
        handle = self.handler()
        access = access_of(self.methods or (), self.path_format)
        known = [parameter.alias for parameter in self.dependant.query_params]

        async def authenticated(request: Request) -> Response:
            ctx = request.app.state.context
            caller = await _admitted(ctx.keys, ctx.rate_limits, request)
            state = request.state
            # app.LastResort adds them to whatever is answered, errors included.
            state.rates = partial(ctx.rate_limits.fields, caller)
            state.caller, state.tenant = caller, admit(caller, access, request)
            require_utf_8_url(request)
            refuse_unknown_query(request, known)
            return await handle(self.readable(request))

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
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise _unauthorized("api_key_invalid", "There are several Authorization headers.")
    header = given[0] if given else None
    if limits.is_failing(request.scope) and not keys.knows(header):
        limits.key_failed(request.scope)
    try:
        caller = await keys.caller_of(header)
    except Problem as problem:
        if problem.code in ("api_key_invalid", "api_key_mistyped"):
            limits.key_failed(request.scope)
        raise
    limits.check(caller)
    return caller


async def _tenant(request: Request, _: Annotated[Any, Security(_DOCUMENTED)]) -> str:
    return request.state.tenant


async def _acts_for(request: Request, _: Annotated[Any, Security(_DOCUMENTED)]) -> str | None:
    return request.state.tenant


async def _sees_addresses(request: Request, _: Annotated[Any, Security(_DOCUMENTED)]) -> bool:
    return Scope.READ_PII in request.state.caller.scopes


async def _caller(request: Request, _: Annotated[Any, Security(_DOCUMENTED)]) -> Caller:
    return request.state.caller


Tenant = Annotated[str, Depends(_tenant)]
"""The tenant for which the request acts, as a parameter of a route whose access is a tenant's."""
Clear = Annotated[bool, Depends(_sees_addresses)]
"""Whether the key shows addresses in clear (scope `read:pii`); otherwise the route masks them."""
ActsFor = Annotated[str | None, Depends(_acts_for)]
"""As Tenant, or None for the installation, in a route that any key may call."""
KeyHolder = Annotated[Caller, Depends(_caller)]
"""The holder of the request's key, as a parameter of a keyed route."""


def revoked() -> Problem:
    """Build the problem for a key that is unknown or no longer valid."""
    return _unauthorized("api_key_invalid", "The API key is unknown or revoked.")


def _check_intact(key: str) -> None:
    if not is_intact(key):
        raise _unauthorized(
            "api_key_mistyped",
            "The API key's checksum is wrong: it was mistyped, or cut when it was copied. A whole key has 55 "
            "characters.",
        )


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})
