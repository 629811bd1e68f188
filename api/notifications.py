"""Submitting notifications and following them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.acts import ActingIfOperator, AuditedRoute, Source, may_operate
from api.auth import Clear, Tenant
from api.bodies import Body
from api.context import AppContext, Ctx
from api.direct import DirectRoute
from api.fields import Name, Time
from api.models import (
    AttemptList,
    AttemptView,
    NotificationIn,
    NotificationPage,
    NotificationView,
    Timeline,
    has_number,
)
from api.pages import notification_page
from api.problems import FieldError, Problem, documented, invalid
from api.submissions import Prepared, accepted_view, is_same, key_from, prepare, reused
from api.timeline import entries
from delivery.operator_commands import NoSuchNotification
from domain.audit import Action, Origin
from domain.ids import workflow_id
from domain.notification import Channel
from domain.operator_decisions import CommandRefused
from domain.status import Status
from storage.queries import Filter, Row
from storage.records import Acceptance

router = APIRouter(tags=["notifications"], route_class=AuditedRoute, responses=documented(401, 503))
direct = APIRouter(
    prefix="/v1", tags=["notifications"], route_class=DirectRoute, responses=documented(401, 503)
)

KEY_HEADER: Final[Mapping[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The client's name for this request, which makes repeating it harmless. Required unless "
    "the body has `idempotency_key`.",
    "schema": {"type": "string", "maxLength": 255},
    "example": "txn-981",
}

Cursor = Annotated[str | None, Query(description="`next_cursor` of the previous page.")]
Limit = Annotated[int, Query(ge=1, le=200)]


@direct.post(
    "/notifications",
    summary="Submit a notification",
    status_code=202,
    response_model=NotificationView,
    openapi_extra={"parameters": [dict(KEY_HEADER)]},
    responses={
        200: {"model": NotificationView, "description": "Accepted before; the notification as it is now"},
        **documented(400, 413, 422),
    },
)
async def submit(body: Body[NotificationIn], request: Request, tenant: Tenant, ctx: Ctx) -> Response:
    """Accept a notification. It is stored before the response; repeating the request never sends twice.

    202: it is new. 200 with `Idempotency-Replayed: true`: the same key and body were accepted before; the
    response is the notification as it is now. 422 `idempotency_key_reused`: the key was used with another
    body. The same key with another `user_id` or `type` is another notification.
    """
    key = key_from(request.headers.getlist("idempotency-key"), body.idempotency_key)
    prepared = prepare(ctx, tenant, body, key)
    acceptance = await _accept(ctx, prepared)
    if acceptance.created:
        ctx.metrics.accepted.add(type=body.type, lane=prepared.submission.lane)
        return _answer(202, accepted_view(prepared.submission, acceptance))
    if not is_same(ctx, prepared, acceptance):
        raise reused()
    row = await ctx.queries.notification(tenant, acceptance.id)
    return _answer(200, NotificationView.of(_there(row)), {"Idempotency-Replayed": "true"})


@router.get(
    "/notifications",
    summary="List notifications",
    response_model=NotificationPage,
    responses=documented(422),
)
async def list_notifications(
    tenant: Tenant,
    ctx: Ctx,
    user_id: Annotated[Name | None, Query()] = None,
    type_: Annotated[Name | None, Query(alias="type")] = None,
    status: Annotated[Status | None, Query()] = None,
    channel: Annotated[Channel | None, Query()] = None,
    provider: Annotated[Name | None, Query(description="Any attempt used this provider.")] = None,
    created_after: Annotated[Time | None, Query()] = None,
    created_before: Annotated[Time | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List notifications, newest first."""
    matching = Filter(
        user_id=user_id,
        type=type_,
        status=status,
        channel=channel,
        provider=provider,
        created_after=created_after,
        created_before=created_before,
    )
    return await notification_page(ctx, tenant, matching, cursor, limit)


@router.get("/notifications/{id:member}", summary="Get a notification", responses=documented(404, 422))
async def get_notification(id: UUID, tenant: Tenant, ctx: Ctx) -> NotificationView:
    """Get a notification as it is now."""
    return NotificationView.of(_there(await ctx.queries.notification(tenant, id)))


@router.get(
    "/notifications/{id}/attempts",
    summary="List the attempts of a notification",
    responses=documented(404, 422),
)
async def get_attempts(id: UUID, tenant: Tenant, ctx: Ctx, clear: Clear, origin: Source) -> AttemptList:
    """List the attempts of a notification: every intended call to a provider, and its outcome."""
    rows = await ctx.queries.attempts(tenant, id)
    if rows is None:
        raise not_found()
    if clear:
        await _record_numbers(ctx, origin, id, rows)
    return AttemptList(attempts=[AttemptView.of(row, clear=clear) for row in rows])


@router.get(
    "/notifications/{id}/timeline",
    summary="Get the timeline of a notification",
    responses=documented(404, 422),
)
async def get_timeline(id: UUID, tenant: Tenant, ctx: Ctx, clear: Clear, origin: Source) -> Timeline:
    """Get every decision about a notification in order: acceptance, plan, attempts, receipts, end."""
    timeline = await ctx.queries.timeline(tenant, id)
    if timeline is None:
        raise not_found()
    if clear:
        await _record_numbers(ctx, origin, id, timeline.attempts)
    workflow = workflow_id(id)
    return Timeline(
        id=id,
        status=timeline.notification["status"],
        reason_code=timeline.notification["reason_code"],
        workflow_id=workflow,
        temporal_ui_url=f"{ctx.workflow_url}{workflow}",
        entries=entries(timeline, clear=clear),
    )


@router.post(
    "/notifications/{id}/cancel", summary="Cancel a notification", responses=documented(400, 404, 409, 422)
)
async def cancel(
    id: UUID, request: Request, tenant: Tenant, ctx: Ctx, origin: ActingIfOperator
) -> NotificationView:
    """Cancel every delivery of a notification that is not being sent at this moment.

    409 `wrong_status`: there is nothing to cancel. Repeating the request changes nothing.
    """
    try:
        await ctx.commands.cancel(tenant, id, origin, audited=may_operate(request))
    except NoSuchNotification:
        raise not_found() from None
    except CommandRefused as refusal:
        raise conflict(refusal) from None
    return NotificationView.of(_there(await ctx.queries.notification(tenant, id)))


async def _record_numbers(ctx: AppContext, origin: Origin, id: UUID, attempts: Sequence[Row]) -> None:
    """Record that the numbers in the attempts' message ids are read."""
    if count := sum(map(has_number, attempts)):
        read = origin.entry(Action.MESSAGE_IDS_READ, str(id), after={"count": count})
        await ctx.audit.record_reading(read)


def not_found() -> Problem:
    """Build the problem for a notification that the tenant does not have."""
    return Problem(404, "notification_not_found", "There is no notification with this id.")


def conflict(refusal: CommandRefused) -> Problem:
    """Build the problem for a notification whose status does not allow the command."""
    errors = [FieldError(f"/{refusal.field}", refusal.code, refusal.detail)] if refusal.field else []
    return Problem(409, refusal.code, refusal.detail, errors=errors)


async def _accept(ctx: AppContext, prepared: Prepared) -> Acceptance:
    if prepared.refused_if_new is None:
        return await ctx.ledger.accept(prepared.submission)
    id = prepared.submission.id
    known = await ctx.ledger.accepted([id])
    if id not in known:
        raise invalid([prepared.refused_if_new])
    return Acceptance(id, False, known[id])


def _answer(status: int, view: NotificationView, headers: Mapping[str, str] | None = None) -> Response:
    location = {"Location": f"/v1/notifications/{view.id}", **(headers or {})}
    return Response(view.model_dump_json(), status, location, "application/json")


def _there(row: Row | None) -> Row:
    if row is None:
        raise not_found()
    return row
