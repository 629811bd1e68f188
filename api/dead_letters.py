"""What waits for an operator: dead letters, and sends whose outcome is unknown."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.access import require
from api.acts import Acting, AuditedRoute, Source, require_reason
from api.auth import KeyHolder, Tenant
from api.bodies import Body
from api.context import AppContext, Ctx
from api.fields import RATE_PER_S_MIN, Email, Name, Phone, Request, Shown, Time
from api.models import NotificationPage, NotificationView
from api.notifications import Cursor, Limit, conflict, not_found
from api.pages import notification_page
from api.problems import FieldError, documented, invalid
from api.submissions import number_refused
from api.times import AHEAD_MAX
from delivery.operator_commands import NoSuchNotification
from domain.access import Scope
from domain.notification import Channel
from domain.operator_decisions import Assume, CommandRefused, Retry
from domain.status import PARKED, Status
from storage.queries import Filter

router = APIRouter(
    prefix="/dead-letters",
    tags=["dead letters"],
    route_class=AuditedRoute,
    responses=documented(400, 401, 422, 503),
)


class RetryTo(Request):
    """Addresses to use instead of those that failed."""

    sms: Phone | None = None
    email: Email | None = None
    whatsapp: Phone | None = None


class RetryIn(Request):
    """How to send it again. Required: `expires_at` if it has expired, `assume` if its outcome is unknown."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"to": {"sms": "+2348031236789"}}]})

    expires_at: Time | None = None
    to: RetryTo | None = None
    assume: Assume | None = None


class ReplayFilter(Request):
    """Which dead letters to replay; an omitted field matches all. `provider`: any attempt used it."""

    type: Name | None = None
    channel: Channel | None = None
    provider: Name | None = None
    reason_code: Name | None = None
    created_after: Time | None = None
    created_before: Time | None = None


class ReplayIn(Request):
    """A bulk replay. It is a dry run unless `dry_run` is false."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "filter": {"provider": "twilio", "created_after": "2026-11-22T00:00:00Z"},
                    "dry_run": True,
                    "rate_per_s": 5,
                }
            ]
        }
    )

    filter: ReplayFilter
    dry_run: StrictBool = True
    rate_per_s: Annotated[float, Field(ge=RATE_PER_S_MIN, le=1000)] = 10
    expires_at: Time | None = Field(
        default=None, description="A new expiry. Without it, expired dead letters are skipped."
    )


class ReplayOut(BaseModel):
    """What was done, or with `dry_run` what would be done (`replayed` is 0 then).

    `expired`: skipped for lack of a new expiry. `already_handled`: skipped because someone handled it first.
    `more`: more match than one replay can handle; run it again. `last_at`: when the last one is sent.
    """

    dry_run: bool
    matched: int
    replayed: int
    expired: int
    already_handled: int
    more: bool
    last_at: Shown | None
    sample: list[UUID]


@router.get("", summary="List dead letters", response_model=NotificationPage)
async def list_dead_letters(
    tenant: Tenant,
    ctx: Ctx,
    user_id: Annotated[Name | None, Query()] = None,
    type_: Annotated[Name | None, Query(alias="type")] = None,
    status: Annotated[Status | None, Query(description="`dead_lettered` or `outcome_unknown`.")] = None,
    channel: Annotated[Channel | None, Query()] = None,
    provider: Annotated[Name | None, Query()] = None,
    reason_code: Annotated[Name | None, Query()] = None,
    created_after: Annotated[Time | None, Query()] = None,
    created_before: Annotated[Time | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the notifications that wait for an operator, newest first."""
    if status is not None and status not in PARKED:
        raise invalid(
            [FieldError("/query/status", "not_one_of", f"expected one of {', '.join(sorted(PARKED))}")]
        )
    matching = Filter(
        user_id=user_id,
        type=type_,
        status=status,
        channel=channel,
        provider=provider,
        reason_code=reason_code,
        created_after=created_after,
        created_before=created_before,
        parked=True,
    )
    return await notification_page(ctx, tenant, matching, cursor, limit)


@router.post("/replay", summary="Replay dead letters")
async def replay(body: Body[ReplayIn], tenant: Tenant, ctx: Ctx, origin: Source) -> ReplayOut:
    """Send the matching dead letters again: `rate_per_s` per second, at most 10,000.

    Unknown outcomes are skipped: each needs its own decision.
    """
    if not body.dry_run:
        require_reason(ctx, origin)
    _check_expiry(body.expires_at)
    asked = body.filter
    matching = Filter(
        type=asked.type,
        status=Status.DEAD_LETTERED,
        channel=asked.channel,
        provider=asked.provider,
        reason_code=asked.reason_code,
        created_after=asked.created_after,
        created_before=asked.created_before,
        parked=True,
    )
    done = await ctx.commands.replay(
        tenant,
        matching,
        origin,
        rate_per_s=body.rate_per_s,
        dry_run=body.dry_run,
        expires_at=body.expires_at,
    )
    return ReplayOut(
        dry_run=body.dry_run,
        matched=done.matched,
        replayed=done.replayed,
        expired=done.expired,
        already_handled=done.already_handled,
        more=done.more,
        last_at=done.last_at,
        sample=done.sample,
    )


@router.post("/{id}/retry", summary="Retry a dead letter", responses=documented(404, 409))
async def retry(
    id: UUID,
    tenant: Tenant,
    caller: KeyHolder,
    ctx: Ctx,
    origin: Acting,
    body: Body[RetryIn | None] = None,
) -> NotificationView:
    """Send a dead letter again at once, with a full retry schedule. `to` needs the scope `read:pii` as well:
    the message can be read at that address.

    409 `wrong_status`: it is not waiting for an operator. 409 `expired` or `assume_required`: the request
    needs the field that the pointer names.
    """
    body = body or RetryIn()
    _check_expiry(body.expires_at)
    if body.to:
        require(caller, Scope.READ_PII, "`to`")
    if body.to and (refusal := number_refused(ctx, tenant, body.to.sms)):
        raise invalid([refusal])
    how = Retry(
        body.expires_at,
        {Channel(channel): to for channel, to in body.to if to} if body.to else {},
        body.assume,
    )
    try:
        await ctx.commands.retry(tenant, id, how, origin)
    except NoSuchNotification:
        raise not_found() from None
    except CommandRefused as refusal:
        raise conflict(refusal) from None
    return await _now(ctx, tenant, id)


@router.post("/{id}/discard", summary="Discard a dead letter", responses=documented(404, 409))
async def discard(id: UUID, tenant: Tenant, ctx: Ctx, origin: Acting) -> NotificationView:
    """Close a dead letter without sending it. 409 `wrong_status`: it is not waiting for an operator."""
    try:
        await ctx.commands.discard(tenant, id, origin)
    except NoSuchNotification:
        raise not_found() from None
    except CommandRefused as refusal:
        raise conflict(refusal) from None
    return await _now(ctx, tenant, id)


async def _now(ctx: AppContext, tenant: str, id: UUID) -> NotificationView:
    row = await ctx.queries.notification(tenant, id)
    if row is None:
        raise not_found()
    return NotificationView.of(row)


def _check_expiry(expires_at: datetime | None) -> None:
    now = datetime.now(UTC)
    if expires_at is not None and not now < expires_at <= now + AHEAD_MAX:
        message = f"expected a time within the next {AHEAD_MAX.days} days"
        raise invalid([FieldError("/expires_at", "out_of_range", message)])
