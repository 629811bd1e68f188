"""Which methods a path supports: HEAD wherever GET is (RFC 9110, section 9.1)."""

from typing import Final

from fastapi import FastAPI
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _MemberConvertor(StringConvertor):
    """The id of a member of a collection; the names of the collection's own routes are no ids."""

    regex = r"(?!batch$)[^/]+"


register_url_convertor("member", _MemberConvertor())

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class HeadAsGet:
    """Answers HEAD as GET: the same status and headers, and no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, bodiless)


def allowed(app: FastAPI, scope: Scope) -> str:
    """Return the methods that any route supports for this path, in the form of the `Allow` header."""
    taken = [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    if "GET" in taken:
        taken.insert(1, "HEAD")
    return ", ".join(taken)
