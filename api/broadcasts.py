"""Broadcasts: one message to many recipients. The API stores them, workers process them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api import audience
from api.acts import Acting, ActingIfOperator, AuditedRoute
from api.auth import Tenant
from api.bodies import Body
from api.body_sizes import VALUES_MAX
from api.broadcast_models import (
    BroadcastIn,
    BroadcastPage,
    BroadcastView,
    ListIn,
    QueryIn,
    RecipientIn,
    RefusedLine,
    RefusedPage,
    view,
)
from api.broadcast_templates import template_refused
from api.context import AppContext, Ctx
from api.cursors import cursor_of, position_of
from api.notifications import KEY_HEADER, Cursor, Limit
from api.pages import page_of
from api.problems import ERRORS_MAX, FieldError, Problem, documented, invalid, invalid_body, pointer
from api.requests import has_more_values, too_many_values
from api.submissions import key_from
from api.times import time_refused
from api.turns import Turns
from delivery.broadcast_commands import command_broadcast
from domain.audit import Action, AuditEntry, Origin, Value
from domain.broadcasts import (
    COMMANDS,
    Audience,
    Broadcast,
    BroadcastRecipient,
    Command,
    Window,
)
from domain.fingerprint import Fingerprint, fingerprint, matches
from domain.ids import broadcast_id, broadcast_workflow_id
from storage.broadcasts import create as store_broadcast
from storage.broadcasts import first_status
from storage.postgres import Connection
from storage.queries import Position
from storage.records import NewBroadcast

router = APIRouter(tags=["broadcasts"], route_class=AuditedRoute, responses=documented(401, 503))

_COMMANDED = documented(400, 404, 409, 422)
_NOT_DUMPED: Final[dict[str, Any]] = {"idempotency_key": True, "audience": {"recipients"}}
"""What identifies the request, and what is dumped part by part."""


@router.post(
    "/broadcasts",
    summary="Create a broadcast",
    status_code=202,
    response_model=BroadcastView,
    openapi_extra={"parameters": [dict(KEY_HEADER)]},
    responses={
        200: {"model": BroadcastView, "description": "Created before; the broadcast as it is now"},
        **documented(400, 413, 422),
    },
)
async def create(
    body: Body[BroadcastIn], request: Request, tenant: Tenant, ctx: Ctx, origin: ActingIfOperator
) -> Response:
    """Create a broadcast. It is stored before the response, and starts once its audience is known.

    202: it is new. 200 with `Idempotency-Replayed: true`: the same key and body were sent before; the
    response is the broadcast as it is now. 422 `idempotency_key_reused`: the key was used with another body.
    An invalid template is refused, and one whose shared values are null or blank; a recipient whose data does
    not fit it becomes a refused line.
    """
    key = key_from(request.headers.getlist("idempotency-key"), body.idempotency_key)
    supplied = body.model_dump(mode="json", exclude_unset=True, exclude=_NOT_DUMPED)
    recipients: list[BroadcastRecipient] = []
    if isinstance(body.audience, ListIn):
        recipients, supplied["audience"]["recipients"] = await _recipients(body.audience)
    new = _new(ctx, tenant, body, key, supplied, recipients)
    if errors := _refused(ctx, body, recipients):
        found = await ctx.broadcasts.named(tenant, key)
        if found is None:
            raise invalid(errors)
        created, id, stored = False, *found
    else:
        created, id, stored = await ctx.audit.perform(partial(_create, new=new, origin=origin))
    if not created and not matches(ctx.fingerprint_keys, stored, supplied):
        raise Problem(
            422,
            "idempotency_key_reused",
            "This idempotency key was used before with another body. Send the first body again to get that "
            "broadcast, or use a new key.",
        )
    shown = await load_view(ctx, tenant, id)
    headers = {"Location": f"/v1/broadcasts/{id}"} | ({} if created else {"Idempotency-Replayed": "true"})
    return Response(shown.model_dump_json(), 202 if created else 200, headers, "application/json")


@router.get("/broadcasts", summary="List broadcasts", response_model=BroadcastPage, responses=documented(422))
async def list_broadcasts(tenant: Tenant, ctx: Ctx, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List broadcasts, newest first."""
    found = await ctx.broadcasts.list_broadcasts(tenant, limit + 1, position_of(cursor) if cursor else None)
    more = len(found) > limit
    last = found[limit - 1] if more else None
    next_cursor = cursor_of(Position(last.created_at, last.id)) if last else None
    return await page_of("broadcasts", map(partial(view_of, ctx), found[:limit]), next_cursor)


@router.get("/broadcasts/{id}", summary="Get a broadcast", responses=documented(404, 422))
async def get_broadcast(id: UUID, tenant: Tenant, ctx: Ctx) -> BroadcastView:
    """Get a broadcast as it is now, with its progress."""
    return await load_view(ctx, tenant, id)


@router.get("/broadcasts/{id}/refused", summary="List refused lines", responses=documented(404, 422))
async def get_refused(
    id: UUID,
    tenant: Tenant,
    ctx: Ctx,
    cursor: Annotated[int, Query(ge=0, description="`next_cursor` of the previous page.")] = 0,
    limit: Limit = 50,
) -> RefusedPage:
    """List the refused lines of a broadcast in order, each with its reason."""
    found = await ctx.broadcasts.refused(await load(ctx, tenant, id), cursor, limit + 1)
    return RefusedPage(
        refused=[RefusedLine.of(refusal) for refusal in found[:limit]],
        next_cursor=str(found[limit - 1].number) if len(found) > limit else None,
    )


@router.post("/broadcasts/{id}/pause", summary="Pause a broadcast", responses=_COMMANDED)
async def pause(id: UUID, tenant: Tenant, ctx: Ctx, origin: Acting) -> BroadcastView:
    """Stop accepting recipients until the broadcast is resumed. What was accepted is still sent."""
    return await _apply(ctx, tenant, id, Command.PAUSE, origin)


@router.post(
    "/broadcasts/{id}/resume", summary="Resume a broadcast", responses=documented(400, 404, 409, 422)
)
async def resume(id: UUID, tenant: Tenant, ctx: Ctx, origin: Acting) -> BroadcastView:
    """Resume a paused broadcast where it stopped."""
    return await _apply(ctx, tenant, id, Command.RESUME, origin)


@router.post(
    "/broadcasts/{id}/cancel", summary="Cancel a broadcast", responses=documented(400, 404, 409, 422)
)
async def cancel(id: UUID, tenant: Tenant, ctx: Ctx, origin: Acting) -> BroadcastView:
    """Cancel a broadcast: accept no more recipients, and stop what is not being sent. It cannot be resumed.

    This takes time: `progress.active` falls, and `ended_at` is set when its last notification has finished.
    """
    return await _apply(ctx, tenant, id, Command.CANCEL, origin)


async def _create(
    connection: Connection, new: NewBroadcast, origin: Origin
) -> tuple[tuple[bool, UUID, Fingerprint], list[AuditEntry]]:
    result = created, id, _ = await store_broadcast(connection, new)
    after: dict[str, Value] = {
        "status": first_status(new).value,
        "type": new.type,
        "channels": [channel.value for channel in new.channels],
        "audience": new.audience.value,
    }
    if new.recipients:
        after["recipients"] = len(new.recipients)
    return result, [origin.entry(Action.BROADCAST_CREATE, str(id), after=after)] if created else []


async def _apply(ctx: AppContext, tenant: str, id: UUID, command: Command, origin: Origin) -> BroadcastView:
    applied = await command_broadcast(ctx.audit, tenant, id, command, origin)
    broadcast = await load(ctx, tenant, id)
    if not applied and broadcast.status is not COMMANDS[command].after:
        raise wrong_status(f"Cannot {command} a broadcast that is {broadcast.status}.")
    return view_of(ctx, broadcast)


async def load_view(ctx: AppContext, tenant: str, id: UUID) -> BroadcastView:
    """Return the view of a broadcast as it is now. Raises Problem (404)."""
    return view_of(ctx, await load(ctx, tenant, id))


async def load(ctx: AppContext, tenant: str, id: UUID) -> Broadcast:
    """Return a broadcast of the tenant. Raises Problem (404)."""
    broadcast = await ctx.broadcasts.get(tenant, id)
    if broadcast is None:
        raise not_found()
    return broadcast


def not_found() -> Problem:
    """Build the problem for a broadcast that the tenant does not have."""
    return Problem(404, "broadcast_not_found", "There is no broadcast with this id.")


def wrong_status(detail: str) -> Problem:
    """Build the problem for a broadcast whose status does not allow the request."""
    return Problem(409, "wrong_status", detail)


def view_of(ctx: AppContext, broadcast: Broadcast) -> BroadcastView:
    """Build the view of a broadcast, with the address of its workflow."""
    return view(broadcast, broadcast_workflow_id(broadcast.id), ctx.workflow_url)


async def _recipients(asked: ListIn) -> tuple[list[BroadcastRecipient], list[dict[str, Any]]]:
    """Return the recipients of a list, and what the client supplied of each. Raises Problem (422)."""
    turns, errors, omitted = Turns(), list[FieldError](), 0
    recipients: list[BroadcastRecipient] = []
    supplied: list[dict[str, Any]] = []
    for index, item in enumerate(asked.recipients):
        try:
            if has_more_values(item, VALUES_MAX):
                raise too_many_values(VALUES_MAX)
            given = RecipientIn.model_validate(item)
        except ValidationError as error:
            problem = invalid_body(error)
            place = pointer("audience", "recipients", index)
            listed = problem.errors[: ERRORS_MAX - len(errors)]
            errors += [replace(one, pointer=f"{place}{one.pointer}") for one in listed]
            omitted += problem.omitted + len(problem.errors) - len(listed)
        else:
            recipients.append(audience.recipient_of(index + 1, given))
            supplied.append(given.model_dump(mode="json", exclude_unset=True))
        await turns.give()
    if errors:
        raise invalid(errors, omitted)
    return recipients, supplied


def _refused(
    ctx: AppContext, body: BroadcastIn, recipients: Sequence[BroadcastRecipient]
) -> Sequence[FieldError]:
    """Why no new broadcast can be made of this."""
    if ctx.catalog.types[body.type].scrub_when_final:
        why = (
            f"the content of a notification of type {body.type} is deleted once it is final, and a broadcast "
            "keeps its template and data: submit the notifications one by one or in batches"
        )
        return [FieldError("/type", "not_for_broadcasts", why)]
    late = time_refused(datetime.now(UTC), "start_at", body.start_at, body.expires_at)
    return [late] if late else template_refused(body, recipients)


def _new(
    ctx: AppContext,
    tenant: str,
    body: BroadcastIn,
    key: str,
    supplied: Mapping[str, Any],
    recipients: Sequence[BroadcastRecipient],
) -> NewBroadcast:
    if body.type not in ctx.catalog.types:
        known = ", ".join(ctx.catalog.types)
        raise invalid([FieldError("/type", "unknown_type", f"unknown type; expected one of {known}")])
    asked, window, keys = body.audience, body.window, ctx.fingerprint_keys
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
        recipients=recipients,
        rate_per_s=body.rate_per_s,
        window=Window(window.start, window.end, window.time_zone) if window else None,
        start_at=body.start_at,
        expires_at=body.expires_at,
    )
