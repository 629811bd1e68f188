"""Broadcasts: one message to many. They are stored, and workers carry them on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api import audience
from api.auth import KeyedRoute, Tenant
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
from api.context import Context, Uses
from api.notifications import KEY_HEADER, Cursor, Limit, cursor_of, position_of
from api.problems import FieldError, Problem, documented, invalid
from api.submissions import AHEAD_MAX, key_from
from domain.broadcasts import (
    DECISIONS,
    Audience,
    Broadcast,
    Decision,
    Window,
)
from domain.fingerprint import fingerprint, matches
from domain.ids import broadcast_id, broadcast_workflow_id
from storage.broadcasts import NewBroadcast
from storage.reads import Position

router = APIRouter(tags=["broadcasts"], route_class=KeyedRoute, responses=documented(401, 503))


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
async def create(body: BroadcastIn, request: Request, tenant: Tenant, uses: Uses) -> Response:
    """Create a broadcast: it is durable before the answer, and begins by itself once its audience is known.

    202: new. 200 with `Idempotency-Replayed: true`: the same key and body were sent before. 422
    `idempotency_key_reused`: the key was used for another body. A template that cannot be used is refused
    here; a recipient whose data does not fit it becomes a refused line.
    """
    key = key_from(request.headers.getlist("idempotency-key"), body.idempotency_key)
    supplied = body.model_dump(mode="json", exclude_unset=True, exclude={"idempotency_key"})
    new = _new(uses, tenant, body, key, supplied)
    if late := _too_late(datetime.now(UTC), body):
        found = await uses.broadcasts.named(tenant, key)
        if found is None:
            raise invalid([late])
        created, id, stored = False, *found
    else:
        created, id, stored = await uses.broadcasts.create(new)
    if not created and not matches(uses.fingerprint_keys, stored, supplied):
        raise Problem(
            422,
            "idempotency_key_reused",
            "This idempotency key was used before with another body. Repeat the first body to see that "
            "broadcast, or use a new key.",
        )
    shown = await _shown(uses, tenant, id)
    headers = {"Location": f"/v1/broadcasts/{id}"} | ({} if created else {"Idempotency-Replayed": "true"})
    return Response(shown.model_dump_json(), 202 if created else 200, headers, "application/json")


@router.get("/broadcasts", responses=documented(422))
async def list_broadcasts(
    tenant: Tenant, uses: Uses, cursor: Cursor = None, limit: Limit = 50
) -> BroadcastPage:
    """Broadcasts, newest first."""
    found = await uses.broadcasts.listed(tenant, limit + 1, position_of(cursor) if cursor else None)
    more = len(found) > limit
    last = found[limit - 1] if more else None
    return BroadcastPage(
        broadcasts=[view_of(uses, broadcast) for broadcast in found[:limit]],
        next_cursor=cursor_of(Position(last.created_at, last.id)) if last else None,
    )


@router.get("/broadcasts/{id}", responses=documented(404, 422))
async def get_broadcast(id: UUID, tenant: Tenant, uses: Uses) -> BroadcastView:
    """One broadcast as it is now, with its progress."""
    return await _shown(uses, tenant, id)


@router.get("/broadcasts/{id}/refused", responses=documented(404, 422))
async def get_refused(
    id: UUID,
    tenant: Tenant,
    uses: Uses,
    cursor: Annotated[int, Query(ge=0, description="`next_cursor` of the page before.")] = 0,
    limit: Limit = 50,
) -> RefusedPage:
    """The lines that were not accepted, each with its reason, in order."""
    found = await uses.broadcasts.refused(await find(uses, tenant, id), cursor, limit + 1)
    return RefusedPage(
        refused=[RefusedLine.of(refusal) for refusal in found[:limit]],
        next_cursor=str(found[limit - 1].no) if len(found) > limit else None,
    )


@router.post("/broadcasts/{id}/pause", responses=documented(404, 409, 422))
async def pause(id: UUID, tenant: Tenant, uses: Uses) -> BroadcastView:
    """Accept no more recipients until it is resumed. What was accepted goes on."""
    return await _decide(uses, tenant, id, Decision.PAUSE)


@router.post("/broadcasts/{id}/resume", responses=documented(404, 409, 422))
async def resume(id: UUID, tenant: Tenant, uses: Uses) -> BroadcastView:
    """Go on where it was paused."""
    return await _decide(uses, tenant, id, Decision.RESUME)


@router.post("/broadcasts/{id}/cancel", responses=documented(404, 409, 422))
async def cancel(id: UUID, tenant: Tenant, uses: Uses) -> BroadcastView:
    """Accept no more recipients, and stop what was accepted and is not under way. It cannot be resumed.

    Stopping takes its time: `progress.active` falls until nothing is on its way any more (`ended_at`).
    """
    return await _decide(uses, tenant, id, Decision.CANCEL)


async def _decide(uses: Context, tenant: str, id: UUID, decision: Decision) -> BroadcastView:
    decided = await uses.broadcasts.decide(tenant, id, decision)
    broadcast = await find(uses, tenant, id)
    if not decided and broadcast.state is not DECISIONS[decision].after:
        raise wrong_state(f"The broadcast is {broadcast.state}: it cannot be {decision}d.")
    return view_of(uses, broadcast)


async def _shown(uses: Context, tenant: str, id: UUID) -> BroadcastView:
    return view_of(uses, await find(uses, tenant, id))


async def find(uses: Context, tenant: str, id: UUID) -> Broadcast:
    """A broadcast of this tenant. Raises Problem (404)."""
    broadcast = await uses.broadcasts.get(tenant, id)
    if broadcast is None:
        raise not_found()
    return broadcast


def not_found() -> Problem:
    """There is no such broadcast in this tenant."""
    return Problem(404, "broadcast_not_found", "There is no broadcast with this id.")


def wrong_state(detail: str) -> Problem:
    """The broadcast's state does not allow this."""
    return Problem(409, "wrong_state", detail)


def view_of(uses: Context, broadcast: Broadcast) -> BroadcastView:
    """A broadcast as the API shows it."""
    return view(broadcast, broadcast_workflow_id(broadcast.id), uses.workflow_url)


def _new(
    uses: Context, tenant: str, body: BroadcastIn, key: str, supplied: Mapping[str, Any]
) -> NewBroadcast:
    if body.type not in uses.catalog.types:
        known = ", ".join(uses.catalog.types)
        raise invalid([FieldError("/type", "unknown_type", f"there is no such type; there are {known}")])
    asked, window, keys = body.audience, body.window, uses.fingerprint_keys
    recipients = asked.recipients if isinstance(asked, ListIn) else []
    query = asked.model_dump(mode="json", exclude={"kind"}) if isinstance(asked, QueryIn) else None
    return NewBroadcast(
        id=broadcast_id(uses.namespace, tenant, key),
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
