"""Limits the size and the pace of a request's body, before it is read into memory."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body_sizes import BODY_BYTES_MAX, bytes_max, too_large_message
from api.problems import Problem
from api.protocol import WHOLE

PARAMETERS_MAX: Final = 100
"""The maximum number of parameters in a query."""
BODY_WITHIN_S: Final = 30.0
"""How long a body may take to arrive; of an upload, how long its next part may take."""
BYTES_PER_S_MIN: Final = 10_000
"""The least average pace of an upload, once it has taken BODY_WITHIN_S."""
_DRAIN_BYTES_MAX: Final = 8 * BODY_BYTES_MAX
_DRAIN_S: Final = 2.0


class BodyLimit:
    """Refuses bodies larger than their path allows (413), those that are too slow (408), and queries with too
    many parameters (400).

    The rest of a refused body is read and dropped, within limits: closing a connection with unread data
    resets it, and its client would never see the response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["query_string"].count(b"&") >= PARAMETERS_MAX:
            detail = f"The query has more than {PARAMETERS_MAX} parameters."
            await Problem(400, "too_many_parameters", detail).response()(scope, receive, send)
            return
        headers = dict(scope["headers"])
        limit = bytes_max(scope["path"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            if b"expect" not in headers:
                await discard(scope, receive)
            problem = Problem(
                413, "body_too_large", too_large_message(scope["path"]), headers={"Connection": "close"}
            )
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, _Limited(scope, receive, limit), send)


class _Limited:
    """The body of one request. What counts is the time spent waiting for the client, not for the route."""

    def __init__(self, scope: Scope, receive: Receive, bytes_max: int) -> None:
        self._waited_s = 0.0
        self._scope = scope
        self._receive = receive
        self._bytes_max = bytes_max
        self._bytes = 0
        self._more = True

    async def __call__(self) -> Message:
        if not self._more:
            return await self._receive()
        message = await (self._receive() if WHOLE in self._scope.get("state", ()) else self._in_time())
        self._bytes += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._bytes > self._bytes_max:
            if self._more:
                await discard(self._scope, self._receive)
            raise HTTPException(413, headers={"Connection": "close"})
        return message

    async def _in_time(self) -> Message:
        loop = asyncio.get_running_loop()
        began = loop.time()
        allowed_s = BODY_WITHIN_S - self._waited_s
        if self._bytes_max > BODY_BYTES_MAX:
            allowed_s = min(BODY_WITHIN_S, allowed_s + self._bytes / BYTES_PER_S_MIN)
        try:
            async with asyncio.timeout(allowed_s):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(408, headers={"Connection": "close"}) from None
        finally:
            self._waited_s += loop.time() - began


async def discard(scope: Scope, receive: Receive) -> None:
    """Read and drop the rest of a body, up to a size and a time, unless all of it has arrived."""
    if WHOLE in scope.get("state", ()):
        return
    dropped = 0
    try:
        async with asyncio.timeout(_DRAIN_S):
            while dropped < _DRAIN_BYTES_MAX:
                message = await receive()
                dropped += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
