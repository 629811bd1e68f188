"""The link in a mail by which its recipient ends that kind of mail (RFC 8058), without a key or a cookie.

A mailbox posts to it when its owner clicks "unsubscribe"; a person who opens it gets a page with a button
that does the same. Opening it changes nothing: scanners of mails open every link.
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
from storage.people import Subscription

router = APIRouter(prefix="/unsubscribe", tags=["unsubscribe"])

Token = Annotated[str, Path(max_length=64, description="What the mail's `List-Unsubscribe` holds.")]

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
"""The page brings nothing with it and asks nobody else, and its address stays where it is."""

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
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/html": {"example": "<!doctype html>…"}}},
    **documented(404, 503),
}


@router.get("/{token}", response_class=Response, responses=_ANSWERS)
async def ask(token: Token, ctx: Ctx) -> HTMLResponse:
    """Ask a person who followed the link whether they mean it. Nothing is changed."""
    found = await ctx.people.subscription(_delivery(token, ctx))
    if found is None:
        raise _unknown()
    return _page(found) if found.wanted else _done(found)


@router.post("/{token}", response_class=Response, responses=_ANSWERS | documented(408, 413))
async def unsubscribe(token: Token, request: Request, ctx: Ctx) -> HTMLResponse:
    """End this type of mail for its recipient, for everything that is not yet being sent. Said again, it
    changes nothing. The body (`List-Unsubscribe=One-Click`) is not needed: the address says everything.
    """
    await request.body()
    found = await ctx.people.unsubscribe(_delivery(token, ctx))
    if found is None:
        raise _unknown()
    return _done(found)


def _delivery(token: str, ctx: AppContext) -> UUID:
    delivery_id = delivery_named_by(token, ctx.unsubscribe_secrets)
    if delivery_id is None:
        raise _unknown()
    return delivery_id


def _unknown() -> Problem:
    return Problem(
        404,
        "unsubscribe_link_unknown",
        "This link is not complete, or of a mail that was sent too long ago. Use the link of a newer mail.",
    )


def _page(found: Subscription) -> HTMLResponse:
    text = f"Stop sending you notifications of the kind <b>{_words(found.type)}</b> by {found.channel}?"
    return _html("Unsubscribe", text, _FORM)


def _done(found: Subscription) -> HTMLResponse:
    text = f"You get no more notifications of the kind <b>{_words(found.type)}</b> by {found.channel}."
    return _html("You are unsubscribed", text)


def _words(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _html(title: str, text: str, form: str = "") -> HTMLResponse:
    return HTMLResponse(_PAGE.substitute(title=title, text=text, form=form), headers=_HEADERS)
