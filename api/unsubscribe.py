"""The unsubscribe link of a mail (RFC 8058), which needs neither a key nor a cookie.

A mailbox posts to it when its owner clicks "unsubscribe"; a person who opens it gets a page with a button
that does the same. Opening it changes nothing, because mail scanners open every link.
"""

import html
from string import Template
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse

from api.context import AppContext, Ctx
from api.problems import Problem, documented
from domain.unsubscribe import delivery_named_by
from storage.users import Subscription

router = APIRouter(prefix="/unsubscribe", tags=["unsubscribe"])

Token = Annotated[str, Path(description="The token in the mail's `List-Unsubscribe` header.")]

_TOKEN_CHARS_MAX: Final = 64
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
"""The page loads nothing from elsewhere, and its address is passed to no other site."""

_PAGE: Final = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<h1>$title</h1>
<p>$text</p>
$form</html>
"""
)
_FORM: Final = (
    '<form method="post"><button name="List-Unsubscribe" value="One-Click">Unsubscribe</button></form>\n'
)
_PAGES: Final = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {200: {"content": _PAGES}, **documented(404, 503)}
_ANSWERS[404]["content"] |= _PAGES


@router.get("/{token}", summary="Show the unsubscribe page", response_class=Response, responses=_ANSWERS)
async def ask(token: Token, request: Request, ctx: Ctx) -> Response:
    """Show a page that asks for confirmation. This changes nothing."""
    delivery_id = _delivery(token, ctx)
    found = await ctx.users.subscription(delivery_id) if delivery_id else None
    if found is None:
        return _unknown(request)
    return _page(found) if found.wanted else _done(found)


@router.post(
    "/{token}", summary="Unsubscribe", response_class=Response, responses=_ANSWERS | documented(408, 413)
)
async def unsubscribe(token: Token, request: Request, ctx: Ctx) -> Response:
    """Turn off this type of mail for its recipient, for everything that is not yet being sent. Repeating it
    changes nothing. The body (`List-Unsubscribe=One-Click`) may be omitted.
    """
    await request.body()
    delivery_id = _delivery(token, ctx)
    found = await ctx.users.unsubscribe(delivery_id) if delivery_id else None
    if found is None:
        return _unknown(request)
    return _done(found)


@router.get("", include_in_schema=False)
@router.post("", include_in_schema=False)
@router.get("/", include_in_schema=False)
@router.post("/", include_in_schema=False)
async def cut_short(request: Request) -> Response:
    """Answer a link that was cut before its token."""
    return _unknown(request)


def _delivery(token: str, ctx: AppContext) -> UUID | None:
    return delivery_named_by(token, ctx.unsubscribe_secrets) if len(token) <= _TOKEN_CHARS_MAX else None


def _unknown(request: Request) -> Response:
    """Return the answer to a link that does not work: a page, unless the client asks for JSON."""
    detail = "This link is incomplete or too old. Use the link in a newer mail."
    accepted = request.headers.get("accept", "")
    if "json" in accepted and "text/html" not in accepted:
        return Problem(404, "unsubscribe_link_unknown", detail).response()
    return _html("This link does not work", f"{detail} Nothing was changed.", status=404)


def _page(found: Subscription) -> HTMLResponse:
    text = f"Stop sending you <b>{_words(found.type)}</b> notifications by {found.channel}?"
    return _html("Unsubscribe", text, _FORM)


def _done(found: Subscription) -> HTMLResponse:
    text = f"You will get no more <b>{_words(found.type)}</b> notifications by {found.channel}."
    return _html("You are unsubscribed", text)


def _words(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _html(title: str, text: str, form: str = "", *, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.substitute(title=title, text=text, form=form), status, headers=_HEADERS)
