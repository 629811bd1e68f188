"""Bounds on what a request may bring, before anything of it is read into memory."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem

BODY_BYTES_MAX: Final = 1_000_000
BODY_WITHIN_S: Final = 30.0
_DRAIN_BYTES_MAX: Final = 8 * BODY_BYTES_MAX
_DRAIN_S: Final = 2.0


class BodyLimit:
    """Refuses bodies above BODY_BYTES_MAX (413), and those that take longer than BODY_WITHIN_S (408).

    The rest of a refused body is read and dropped within bounds: a connection that is closed on unread
    data is reset, and its client would never see the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
            if b"expect" not in headers:
                await _drain(receive)
            problem = Problem(
                413, "body_too_large", "The body is larger than 1 MB.", headers={"Connection": "close"}
            )
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, _Limited(receive), send)


class _Limited:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0
        self._more = True

    async def __call__(self) -> Message:
        if not self._more:
            return await self._receive()
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, headers={"Connection": "close"}) from None
        self._bytes += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._bytes > BODY_BYTES_MAX:
            if self._more:
                await _drain(self._receive)
            raise HTTPException(413, headers={"Connection": "close"})
        return message


async def _drain(receive: Receive) -> None:
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
