"""What providers report: verified over its raw bytes, stored, then acknowledged."""

from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from api.context import AppContext, Ctx
from api.problems import Problem, documented
from providers.base import Answered, CallbackRefused, CallbackRequest, Challenged, Provider

router = APIRouter(tags=["callbacks"])
log = structlog.stdlib.get_logger(__name__)

_STATUS: Final = {"malformed": 400, "callbacks_not_supported": 404}
"""Everything else that an adapter refuses is about the signature, or its age."""


@router.post("/callbacks/{provider}", responses=documented(400, 401, 404, 413, 503))
async def take(provider: str, request: Request, ctx: Ctx) -> Response:
    """Take a provider's report, or what a person answered. It is durable before the answer; 503 asks the
    provider to repeat it. Answers that are neither STOP nor START are not kept.
    """
    adapter = _adapter(provider, ctx)
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    asked = path + b"?" + query if query else path
    callback = CallbackRequest(
        # What the provider called is what it signed: our public address, and the path byte for byte.
        url=ctx.public_url + asked.decode("latin-1"),
        headers=dict(request.headers),
        query=dict(request.query_params),
        body=await request.body(),
        now=datetime.now(UTC),
    )
    try:
        receipts = adapter.parse_callback(callback)
        replies = adapter.parse_replies(callback) if isinstance(adapter, Answered) else ()
    except CallbackRefused as refusal:
        raise _refused(provider, ctx, refusal) from None
    if receipts:
        await ctx.receipts.store(provider, receipts)
    for receipt in receipts:
        ctx.metrics.receipts.add(provider=provider, status=receipt.status)
    for reply in replies:
        new = await ctx.people.hear(provider, reply)
        log.info("reply_heard", provider=provider, word=reply.word, new=new)
    return Response(status_code=200)


@router.get(
    "/callbacks/{provider}",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "1158201444"}}}, **documented(401, 404)},
)
async def answer(provider: str, request: Request, ctx: Ctx) -> PlainTextResponse:
    """Answer a provider that asks, before it sends reports here, whether this address is meant."""
    adapter = _adapter(provider, ctx)
    if not isinstance(adapter, Challenged):
        raise Problem(404, "callbacks_not_challenged", "This provider asks for no such answer.")
    try:
        return PlainTextResponse(adapter.challenge(dict(request.query_params)))
    except CallbackRefused as refusal:
        raise _refused(provider, ctx, refusal) from None


def _adapter(provider: str, ctx: AppContext) -> Provider:
    adapter = ctx.providers.get(provider)
    if adapter is None:
        raise Problem(404, "provider_not_found", "No provider of this name is configured.")
    return adapter


def _refused(provider: str, ctx: AppContext, refusal: CallbackRefused) -> Problem:
    ctx.metrics.callbacks_refused.add(provider=provider, code=refusal.code)
    log.warning("callback_refused", provider=provider, code=refusal.code)
    return Problem(_STATUS.get(refusal.code, 401), refusal.code, str(refusal))
