"""Providers' callbacks: each is verified as its vendor provides, stored, and then acknowledged."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from api.context import AppContext, Ctx
from api.problems import Problem, documented
from domain.outcome import Receipt
from domain.replies import Reply
from providers.base import AnswersChallenge, CallbackRefused, CallbackRequest, Provider, ReceivesReplies

router = APIRouter(tags=["callbacks"])
log = structlog.stdlib.get_logger(__name__)

PARSED_AT_ONCE_BYTES: Final = 32_768
"""A larger callback is parsed in a thread: it can report thousands of events."""
_STATUS: Final = {"malformed": 400, "callbacks_not_supported": 404}
"""Every other refusal of an adapter concerns the signature or its age: 401."""


@router.post(
    "/callbacks/{provider}", summary="Receive a callback", responses=documented(400, 401, 404, 408, 413, 503)
)
async def take(provider: str, request: Request, ctx: Ctx) -> Response:
    """Accept a provider's callback: receipts, or a recipient's reply. It is stored before the response; a 503
    makes the provider repeat it. Replies that are neither STOP nor START are not stored.
    """
    adapter = _adapter(provider, ctx)
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    asked = path + b"?" + query if query else path
    callback = CallbackRequest(
        # The provider signed the URL that it called: the public address, and the path byte for byte.
        url=ctx.public_url + asked.decode("latin-1"),
        headers=dict(request.headers),
        query=dict(request.query_params),
        body=await request.body(),
        now=datetime.now(UTC),
    )
    try:
        if len(callback.body) <= PARSED_AT_ONCE_BYTES:
            receipts, replies = _parsed(adapter, callback)
        else:
            receipts, replies = await asyncio.to_thread(_parsed, adapter, callback)
    except CallbackRefused as refusal:
        raise _refused(provider, ctx, request, refusal) from None
    if receipts:
        await ctx.receipts.store(provider, receipts)
    for receipt in receipts:
        ctx.metrics.receipts.add(provider=provider, status=receipt.status)
    for reply in replies:
        new = await ctx.users.record_reply(provider, reply)
        log.info("reply_recorded", provider=provider, word=reply.word, new=new)
    return Response(status_code=200)


@router.get(
    "/callbacks/{provider}",
    summary="Answer a challenge",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "1158201444"}}}, **documented(401, 404)},
)
async def answer(provider: str, request: Request, ctx: Ctx) -> PlainTextResponse:
    """Answer the challenge with which a provider verifies this address before it sends callbacks."""
    adapter = _adapter(provider, ctx)
    if not isinstance(adapter, AnswersChallenge):
        raise Problem(404, "callbacks_not_challenged", "This provider does not send challenges.")
    try:
        return PlainTextResponse(adapter.challenge(dict(request.query_params)))
    except CallbackRefused as refusal:
        raise _refused(provider, ctx, request, refusal) from None


def _parsed(adapter: Provider, callback: CallbackRequest) -> tuple[Sequence[Receipt], Sequence[Reply]]:
    """Return what a callback reports. Raises CallbackRefused."""
    receipts = adapter.parse_callback(callback)
    return receipts, adapter.parse_replies(callback) if isinstance(adapter, ReceivesReplies) else ()


def _adapter(provider: str, ctx: AppContext) -> Provider:
    adapter = ctx.providers.get(provider)
    if adapter is None:
        raise Problem(404, "provider_not_found", "No provider with this name is configured.")
    return adapter


def _refused(provider: str, ctx: AppContext, request: Request, refusal: CallbackRefused) -> Problem:
    ctx.metrics.callbacks_refused.add(provider=provider, code=refusal.code)
    log.warning("callback_refused", provider=provider, code=refusal.code)
    status = _STATUS.get(refusal.code, 401)
    if status == 401:
        ctx.rate_limits.callback_failed(request.scope)
    return Problem(status, refusal.code, str(refusal))
