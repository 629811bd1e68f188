"""Submitting notifications and following them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api.acts import AuditedRoute, Source, require_reason
from api.auth import Clear, Tenant
from api.body_sizes import VALUES_MAX
from api.context import AppContext, Ctx
from api.cursors import cursor_of, position_of
from api.direct import DirectRoute
from api.fields import Name, Time
from api.models import (
    AttemptList,
    AttemptView,
    BatchIn,
    BatchItem,
    BatchOut,
    NotificationIn,
    NotificationPage,
    NotificationView,
    Timeline,
)
from api.problems import FieldError, Problem, documented, invalid, invalid_body
from api.requests import has_more_values
from api.submissions import Prepared, accepted_view, is_same, key_from, prepare, reused
from api.timeline import entries
from api.turns import Turns
from delivery.operator_commands import NoSuchNotification
from domain.access import Scope
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

BATCH_ERRORS_MAX: Final = 1_000
"""How many errors the response to a batch lists, besides the first one of each item."""
_KINDS: Final = {202: "accepted", 200: "replayed", 422: "refused"}

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
async def submit(body: NotificationIn, request: Request, tenant: Tenant, ctx: Ctx) -> Response:
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


@direct.post(
    "/notifications/batch",
    summary="Submit a batch of notifications",
    response_model=BatchOut,
    responses=documented(400, 413, 422),
)
async def submit_batch(body: BatchIn, request: Request, tenant: Tenant, ctx: Ctx) -> Response:
    """Accept up to 1,000 notifications in one transaction, each accepted or refused separately.

    The response is 200 whatever the results; each item's `status` is 202 (new), 200 (replayed), or 422 with
    a `problem`. A refused item does not affect the others.
    """
    ctx.rate_limits.charge(request.state.caller, len(body.notifications) - 1)
    turns, told = Turns(), _Told()
    results: list[Prepared | BatchItem] = []
    async with ctx.one_batch:
        for index, item in enumerate(body.notifications):
            results.append(_prepare_item(ctx, tenant, index, item, told))
            await turns.give()
    late = [item.submission.id for item in results if isinstance(item, Prepared) and item.refused_if_new]
    known = await ctx.ledger.accepted(late) if late else {}
    for index, item in enumerate(results):
        if isinstance(item, Prepared) and item.refused_if_new and item.submission.id not in known:
            results[index] = _refused(index, invalid([item.refused_if_new]), told)
    ready = [item for item in results if isinstance(item, Prepared)]
    acceptances = await ctx.ledger.accept_all([item.submission for item in ready]) if ready else []
    replayed = [acceptance.id for acceptance in acceptances if not acceptance.created]
    rows = await ctx.queries.notifications(tenant, replayed) if replayed else {}
    _count(ctx, ready, acceptances)
    answers = iter(zip(ready, acceptances, strict=True))
    counts: Counter[str] = Counter()
    parts: list[str] = []
    async with ctx.one_batch:
        for index, result in enumerate(results):
            if isinstance(result, Prepared):
                result = _item(ctx, index, *next(answers), rows, told)
            counts[_KINDS[result.status]] += 1
            parts.append(result.model_dump_json())
            await turns.give()
    # Written here: FastAPI, or one call for a thousand items, would hold the event loop.
    totals = ",".join(f'"{kind}":{counts[kind]}' for kind in ("accepted", "replayed", "refused"))
    return Response(f'{{{totals},"results":[{",".join(parts)}]}}', media_type="application/json")


@router.get("/notifications", summary="List notifications", responses=documented(422))
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
) -> NotificationPage:
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
    return await page(ctx, tenant, matching, cursor, limit)


@router.get("/notifications/{id:member}", summary="Get a notification", responses=documented(404, 422))
async def get_notification(id: UUID, tenant: Tenant, ctx: Ctx) -> NotificationView:
    """Get a notification as it is now."""
    return NotificationView.of(_there(await ctx.queries.notification(tenant, id)))


@router.get(
    "/notifications/{id}/attempts",
    summary="List the attempts of a notification",
    responses=documented(404, 422),
)
async def get_attempts(id: UUID, tenant: Tenant, ctx: Ctx, clear: Clear) -> AttemptList:
    """List the attempts of a notification: every intended call to a provider, and its outcome."""
    rows = await ctx.queries.attempts(tenant, id)
    if rows is None:
        raise not_found()
    return AttemptList(attempts=[AttemptView.of(row, clear=clear) for row in rows])


@router.get(
    "/notifications/{id}/timeline",
    summary="Get the timeline of a notification",
    responses=documented(404, 422),
)
async def get_timeline(id: UUID, tenant: Tenant, ctx: Ctx, clear: Clear) -> Timeline:
    """Get every decision about a notification in order: acceptance, plan, attempts, receipts, end."""
    timeline = await ctx.queries.timeline(tenant, id)
    if timeline is None:
        raise not_found()
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
async def cancel(id: UUID, request: Request, tenant: Tenant, ctx: Ctx, origin: Source) -> NotificationView:
    """Cancel every delivery of a notification that is not being sent at this moment.

    409 `wrong_status`: there is nothing to cancel. Repeating the request changes nothing.
    """
    operates = Scope.OPERATE in request.state.caller.scopes
    if operates:
        require_reason(ctx, origin)
    try:
        await ctx.commands.cancel(tenant, id, origin, audited=operates)
    except NoSuchNotification:
        raise not_found() from None
    except CommandRefused as refusal:
        raise conflict(refusal) from None
    return NotificationView.of(_there(await ctx.queries.notification(tenant, id)))


async def page(
    ctx: AppContext, tenant: str, matching: Filter, cursor: str | None, limit: int
) -> NotificationPage:
    """Return a page of the matching notifications. Raises Problem (422) for an invalid cursor."""
    after = position_of(cursor) if cursor else None
    found = await ctx.queries.list_page(tenant, matching, limit, after)
    rows = await ctx.queries.notifications(tenant, [position.id for position in found.positions])
    return NotificationPage(
        notifications=[
            NotificationView.of(rows[position.id]) for position in found.positions if position.id in rows
        ],
        next_cursor=cursor_of(found.next) if found.next else None,
    )


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


class _Told:
    """How many errors a batch's response still lists: one of each item in any case."""

    def __init__(self) -> None:
        self._left = BATCH_ERRORS_MAX

    def first(self, errors: Sequence[FieldError]) -> Sequence[FieldError]:
        """Return those of an item's errors that are listed."""
        listed = errors[: max(1, self._left)]
        self._left -= len(listed)
        return listed


def _prepare_item(ctx: AppContext, tenant: str, index: int, item: Any, told: _Told) -> Prepared | BatchItem:
    try:
        if has_more_values(item, VALUES_MAX):
            raise invalid([FieldError("", "too_many_values", f"more than {VALUES_MAX} values")])
        request = NotificationIn.model_validate(item)
        if request.idempotency_key is None:
            raise invalid([FieldError("/idempotency_key", "required", "each item needs an idempotency key")])
        return prepare(ctx, tenant, request, request.idempotency_key)
    except ValidationError as error:
        return _refused(index, invalid_body(error), told)
    except Problem as problem:
        return _refused(index, problem, told)


def _refused(index: int, problem: Problem, told: _Told) -> BatchItem:
    listed = told.first(problem.errors)
    errors = [replace(error, pointer=f"/notifications/{index}{error.pointer}") for error in listed]
    omitted = problem.omitted + len(problem.errors) - len(listed)
    placed = Problem(problem.status, problem.code, problem.detail, errors=errors, omitted=omitted)
    return BatchItem(index=index, status=problem.status, problem=placed.document())


def _count(ctx: AppContext, prepared: Sequence[Prepared], acceptances: Sequence[Acceptance]) -> None:
    created = Counter(
        (item.submission.type, item.submission.lane)
        for item, acceptance in zip(prepared, acceptances, strict=True)
        if acceptance.created
    )
    for (name, lane), amount in created.items():
        ctx.metrics.accepted.add(amount, type=name, lane=lane)


def _item(
    ctx: AppContext,
    index: int,
    prepared: Prepared,
    acceptance: Acceptance,
    rows: Mapping[UUID, Row],
    told: _Told,
) -> BatchItem:
    if acceptance.created:
        view = accepted_view(prepared.submission, acceptance)
        return BatchItem(index=index, status=202, id=acceptance.id, notification=view)
    if not is_same(ctx, prepared, acceptance):
        return _refused(index, reused(), told)
    view = NotificationView.of(rows[acceptance.id])
    return BatchItem(index=index, status=200, id=acceptance.id, replayed=True, notification=view)


def _answer(status: int, view: NotificationView, headers: Mapping[str, str] | None = None) -> Response:
    location = {"Location": f"/v1/notifications/{view.id}", **(headers or {})}
    return Response(view.model_dump_json(), status, location, "application/json")


def _there(row: Row | None) -> Row:
    if row is None:
        raise not_found()
    return row
