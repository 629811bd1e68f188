"""What providers report: verified over its raw bytes, stored, then acknowledged."""

from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response

from api.context import Uses
from api.problems import Problem, documented
from providers.base import CallbackRefused, CallbackRequest

router = APIRouter(tags=["callbacks"])
log = structlog.stdlib.get_logger(__name__)

_STATUS: Final = {"malformed": 400, "callbacks_not_supported": 404}
"""Everything else that an adapter refuses is about the signature, or its age."""


@router.post("/callbacks/{provider}", responses=documented(400, 401, 404, 413, 503))
async def take(provider: str, request: Request, uses: Uses) -> Response:
    """Take a provider's report. It is durable before the answer; 503 asks the provider to repeat it."""
    adapter = uses.providers.get(provider)
    if adapter is None:
        raise Problem(404, "provider_not_found", "No provider of this name is configured.")
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    asked = path + b"?" + query if query else path
    callback = CallbackRequest(
        # What the provider called is what it signed: our public address, and the path byte for byte.
        url=uses.public_url + asked.decode("latin-1"),
        headers=dict(request.headers),
        query=dict(request.query_params),
        body=await request.body(),
        now=datetime.now(UTC),
    )
    try:
        receipts = adapter.parse_callback(callback)
    except CallbackRefused as refusal:
        uses.metrics.callbacks_refused.add(provider=provider, code=refusal.code)
        log.warning("callback_refused", provider=provider, code=refusal.code)
        raise Problem(_STATUS.get(refusal.code, 401), refusal.code, str(refusal)) from None
    if receipts:
        await uses.receipts.store(provider, receipts)
    return Response(status_code=200)
