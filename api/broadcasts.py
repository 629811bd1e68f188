"""Broadcasts: one message to many. They are stored, and workers carry them on."""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from api import audience
from api.auth import KeyedRoute, StreamedRoute, Tenant
from api.body_limit import drain
from api.broadcast_models import (
    BroadcastIn,
    BroadcastPage,
    BroadcastView,
    ListIn,
    QueryIn,
    RefusedLine,
    RefusedPage,
    view,
)
from api.context import AppContext, Ctx
from api.notifications import KEY_HEADER, Cursor, Limit, cursor_of, position_of
from api.problems import FieldError, Problem, documented, invalid
from api.submissions import AHEAD_MAX, key_from
from domain.broadcasts import (
    DECISIONS,
    RECIPIENTS_MAX,
    Audience,
    Broadcast,
    Decision,
    Recipient,
    Refusal,
    Window,
)
from domain.fingerprint import fingerprint, matches
from domain.ids import broadcast_id, broadcast_workflow_id
from storage.broadcasts import NewBroadcast
from storage.reads import Position

LINES_AT_ONCE: Final = 250
REFUSED_MAX: Final = 10_000
SHOWN_MAX: Final = 20
"""So many refused lines are named when an upload is refused whole."""

router = APIRouter(tags=["broadcasts"], route_class=KeyedRoute, responses=documented(401, 503))
uploads = APIRouter(tags=["broadcasts"], route_class=StreamedRoute, responses=documented(401, 503))


@router.post(
    "/broadcasts",
    status_code=202,
    response_model=BroadcastView,
    openapi_extra={"parameters": [dict(KEY_HEADER)]},
    responses={
        200: {"model": BroadcastView, "description": "Created before, as it is now (replayed)"},
        **documented(400, 413, 422),
    },
)
async def create(body: BroadcastIn, request: Request, tenant: Tenant, ctx: Ctx) -> Response:
    """Create a broadcast: it is durable before the answer, and begins by itself once its audience is known.

    202: new. 200 with `Idempotency-Replayed: true`: the same key and body were sent before. 422
    `idempotency_key_reused`: the key was used for another body. A template that cannot be used is refused
    here; a recipient whose data does not fit it becomes a refused line.
    """
    key = key_from(request.headers.getlist("idempotency-key"), body.idempotency_key)
    supplied = body.model_dump(mode="json", exclude_unset=True, exclude={"idempotency_key"})
    new = _new(ctx, tenant, body, key, supplied)
    if late := _too_late(datetime.now(UTC), body):
        found = await ctx.broadcasts.named(tenant, key)
        if found is None:
            raise invalid([late])
        created, id, stored = False, *found
    else:
        created, id, stored = await ctx.broadcasts.create(new)
    if not created and not matches(ctx.fingerprint_keys, stored, supplied):
        raise Problem(
            422,
            "idempotency_key_reused",
            "This idempotency key was used before with another body. Repeat the first body to see that "
            "broadcast, or use a new key.",
        )
    shown = await _shown(ctx, tenant, id)
    headers = {"Location": f"/v1/broadcasts/{id}"} | ({} if created else {"Idempotency-Replayed": "true"})
    return Response(shown.model_dump_json(), 202 if created else 200, headers, "application/json")


@router.get("/broadcasts", responses=documented(422))
async def list_broadcasts(
    tenant: Tenant, ctx: Ctx, cursor: Cursor = None, limit: Limit = 50
) -> BroadcastPage:
    """Broadcasts, newest first."""
    found = await ctx.broadcasts.listed(tenant, limit + 1, position_of(cursor) if cursor else None)
    more = len(found) > limit
    last = found[limit - 1] if more else None
    return BroadcastPage(
        broadcasts=[_view(ctx, broadcast) for broadcast in found[:limit]],
        next_cursor=cursor_of(Position(last.created_at, last.id)) if last else None,
    )


@router.get("/broadcasts/{id}", responses=documented(404, 422))
async def get_broadcast(id: UUID, tenant: Tenant, ctx: Ctx) -> BroadcastView:
    """One broadcast as it is now, with its progress."""
    return await _shown(ctx, tenant, id)


@router.get("/broadcasts/{id}/refused", responses=documented(404, 422))
async def get_refused(
    id: UUID,
    tenant: Tenant,
    ctx: Ctx,
    cursor: Annotated[int, Query(ge=0, description="`next_cursor` of the page before.")] = 0,
    limit: Limit = 50,
) -> RefusedPage:
    """The lines that were not accepted, each with its reason, in order."""
    found = await ctx.broadcasts.refused(await _there(ctx, tenant, id), cursor, limit + 1)
    return RefusedPage(
        refused=[RefusedLine.of(refusal) for refusal in found[:limit]],
        next_cursor=str(found[limit - 1].no) if len(found) > limit else None,
    )


@router.post("/broadcasts/{id}/pause", responses=documented(404, 409, 422))
async def pause(id: UUID, tenant: Tenant, ctx: Ctx) -> BroadcastView:
    """Accept no more recipients until it is resumed. What was accepted goes on."""
    return await _decide(ctx, tenant, id, Decision.PAUSE)


@router.post("/broadcasts/{id}/resume", responses=documented(404, 409, 422))
async def resume(id: UUID, tenant: Tenant, ctx: Ctx) -> BroadcastView:
    """Go on where it was paused."""
    return await _decide(ctx, tenant, id, Decision.RESUME)


@router.post("/broadcasts/{id}/cancel", responses=documented(404, 409, 422))
async def cancel(id: UUID, tenant: Tenant, ctx: Ctx) -> BroadcastView:
    """Accept no more recipients, and stop what was accepted and is not under way. It cannot be resumed.

    Stopping takes its time: `progress.active` falls until nothing is on its way any more (`ended_at`).
    """
    return await _decide(ctx, tenant, id, Decision.CANCEL)


@uploads.put(
    "/broadcasts/{id}/audience",
    responses=documented(400, 404, 408, 409, 413, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                audience.CSV: {
                    "schema": {"type": "string"},
                    "example": "user_id,to_sms,name\nuser-42,,Ada\nuser-43,+2348031236789,Bola\n",
                },
                audience.NDJSON: {
                    "schema": {"type": "string"},
                    "example": '{"user_id": "user-42", "data": {"name": "Ada"}}\n',
                },
            },
        }
    },
)
async def upload(
    id: UUID,
    request: Request,
    tenant: Tenant,
    ctx: Ctx,
    refused_max: Annotated[
        int, Query(ge=0, le=REFUSED_MAX, description="With more refused lines nothing is taken.")
    ] = REFUSED_MAX,
) -> BroadcastView:
    """Upload the audience of a draft, as CSV or NDJSON, one recipient a line; the broadcast begins.

    It is read as it comes. A line that cannot be used is refused with its number and reason, and the others
    are taken. An upload that is cut short counts for nothing: send it again. The same one again changes
    nothing.
    """
    reader = audience.reader(_media_type(request))
    number = await ctx.broadcasts.begin_upload(tenant, id)
    if number is None:
        return await _replayed(ctx, tenant, id, request)
    read = _Upload(ctx, id, number, refused_max)
    try:
        async for chunk in request.stream():
            await read.take(chunk, reader.feed(chunk))
        await read.take(b"", reader.finish())
        await read.store()
    except ClientDisconnect:
        raise Problem(400, "audience_cut_short", "The upload was cut short. Send it again.") from None
    except Problem:
        await drain(request.receive)
        raise
    if not read.total:
        raise read.problem("audience_empty", "No line of the upload could be used.")
    ended = await ctx.broadcasts.end_upload(id, number, read.total, read.refused_count, read.digest)
    if not ended:
        raise _wrong_state("Another upload began, or it was decided on meanwhile.")
    return await _shown(ctx, tenant, id)


class _Upload:
    """What an upload has brought so far: stored in batches, the first few refusals kept for the answer."""

    def __init__(self, ctx: AppContext, id: UUID, number: int, refused_max: int) -> None:
        self._ctx = ctx
        self._id = id
        self._number = number
        self._refused_max = refused_max
        self._hash = hashlib.sha256()
        self._recipients: list[Recipient] = []
        self._refusals: list[Refusal] = []
        self._first: list[Refusal] = []
        self.taken = 0
        self.refused_count = 0

    @property
    def total(self) -> int:
        """How many lines are something; none when no recipient is among them."""
        return self.taken + self.refused_count if self.taken else 0

    @property
    def digest(self) -> bytes:
        """Of all bytes so far."""
        return self._hash.digest()

    async def take(self, chunk: bytes, lines: Iterator[audience.Read]) -> None:
        """Take the lines that these bytes made whole. Raises Problem (422) when too many are refused."""
        self._hash.update(chunk)
        for line in lines:
            if isinstance(line, Recipient):
                self._recipients.append(line)
                self.taken += 1
            else:
                self._refusals.append(line)
                self.refused_count += 1
                if len(self._first) < SHOWN_MAX:
                    self._first.append(line)
            if self.refused_count > self._refused_max:
                message = f"More than {self._refused_max} lines cannot be used: nothing was taken."
                raise self.problem("audience_refused", message)
            if self.taken > RECIPIENTS_MAX:
                raise self.problem("too_long", f"At most {RECIPIENTS_MAX} recipients.")
            if len(self._recipients) + len(self._refusals) >= LINES_AT_ONCE:
                await self.store()

    async def store(self) -> None:
        """Store what is not stored yet."""
        recipients, self._recipients = self._recipients, []
        refusals, self._refusals = self._refusals, []
        await self._ctx.broadcasts.put(self._id, self._number, recipients, refusals)

    def problem(self, code: str, detail: str) -> Problem:
        """Why the upload counts for nothing, with the first lines that were refused."""
        errors = [FieldError(f"/line/{r.no}{r.pointer}", r.code, r.message) for r in self._first]
        return Problem(422, code, detail, errors=errors)


async def _replayed(ctx: AppContext, tenant: str, id: UUID, request: Request) -> BroadcastView:
    """The answer to an upload of what is no draft: the broadcast, if this is its audience once more."""
    broadcast = await _there(ctx, tenant, id)
    if broadcast.digest is None:
        await drain(request.receive)
        raise _wrong_state(f"Its audience is a {broadcast.audience}, and it is {broadcast.state}.")
    digest = hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
    if not hmac.compare_digest(digest.digest(), broadcast.digest):
        raise _wrong_state("It has its audience, and this is another one.")
    return _view(ctx, broadcast)


async def _decide(ctx: AppContext, tenant: str, id: UUID, decision: Decision) -> BroadcastView:
    decided = await ctx.broadcasts.decide(tenant, id, decision)
    broadcast = await _there(ctx, tenant, id)
    if not decided and broadcast.state is not DECISIONS[decision].after:
        raise _wrong_state(f"The broadcast is {broadcast.state}: it cannot be {decision}d.")
    return _view(ctx, broadcast)


async def _shown(ctx: AppContext, tenant: str, id: UUID) -> BroadcastView:
    return _view(ctx, await _there(ctx, tenant, id))


async def _there(ctx: AppContext, tenant: str, id: UUID) -> Broadcast:
    broadcast = await ctx.broadcasts.get(tenant, id)
    if broadcast is None:
        raise not_found()
    return broadcast


def not_found() -> Problem:
    """There is no such broadcast in this tenant."""
    return Problem(404, "broadcast_not_found", "There is no broadcast with this id.")


def _wrong_state(detail: str) -> Problem:
    return Problem(409, "wrong_state", detail)


def _view(ctx: AppContext, broadcast: Broadcast) -> BroadcastView:
    return view(broadcast, broadcast_workflow_id(broadcast.id), ctx.workflow_url)


def _new(
    ctx: AppContext, tenant: str, body: BroadcastIn, key: str, supplied: Mapping[str, Any]
) -> NewBroadcast:
    if body.type not in ctx.catalog.types:
        known = ", ".join(ctx.catalog.types)
        raise invalid([FieldError("/type", "unknown_type", f"there is no such type; there are {known}")])
    asked, window, keys = body.audience, body.window, ctx.fingerprint_keys
    recipients = asked.recipients if isinstance(asked, ListIn) else []
    query = asked.model_dump(mode="json", exclude={"kind"}) if isinstance(asked, QueryIn) else None
    return NewBroadcast(
        id=broadcast_id(ctx.namespace, tenant, key),
        tenant=tenant,
        idempotency_key=key,
        fingerprint=fingerprint(keys, next(iter(keys)), supplied),
        type=body.type,
        channels=tuple(body.channels),
        strategy=body.strategy,
        title=body.template.title,
        body=body.template.body,
        audience=Audience(asked.kind),
        data=body.data,
        metadata=body.metadata,
        query=query,
        recipients=[audience.recipient_of(no, given) for no, given in enumerate(recipients, 1)],
        rate_per_s=body.rate_per_s,
        window=Window(window.start, window.end, window.time_zone) if window else None,
        start_at=body.start_at,
        expires_at=body.expires_at,
    )


def _too_late(now: datetime, body: BroadcastIn) -> FieldError | None:
    start_at, expires_at = body.start_at, body.expires_at
    if expires_at is not None and expires_at <= now:
        return FieldError("/expires_at", "in_the_past", "it has passed already")
    if start_at is not None and start_at > now + AHEAD_MAX:
        return FieldError("/start_at", "out_of_range", f"at most {AHEAD_MAX.days} days ahead")
    if expires_at is not None and expires_at > now + 2 * AHEAD_MAX:
        return FieldError("/expires_at", "out_of_range", f"at most {2 * AHEAD_MAX.days} days ahead")
    if start_at is not None and expires_at is not None and expires_at <= start_at:
        return FieldError("/expires_at", "before_start_at", "it passes before `start_at`")
    return None


def _media_type(request: Request) -> str:
    """What the body is declared as. Raises Problem (400) for another charset than UTF-8."""
    declared = Message()
    declared["content-type"] = request.headers.get("content-type", "")
    if declared.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise Problem(400, "charset", "Send the audience in UTF-8.")
    return declared.get_content_type()
