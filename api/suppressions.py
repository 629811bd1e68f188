"""Suppressed addresses: nothing is sent to them, whatever the type."""

import json
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api.acts import Acting, AuditedRoute, Source
from api.auth import Clear, Tenant
from api.bodies import Body
from api.context import Ctx
from api.cursors import invalid_cursor
from api.fields import Address, Email, Phone, Request, Shown, Storable, Text, Token
from api.problems import FieldError, Problem, documented, invalid, invalid_body
from api.sealed import Seal
from domain.audit import Action, AuditEntry, Details
from domain.masking import mask, shown
from domain.notification import ADDRESS_KINDS, AddressKind, Channel
from storage.postgres import Connection
from storage.users import Suppression, suppress, unsuppress
from telemetry.scrub import scrub

router = APIRouter(
    prefix="/suppressions",
    tags=["suppressions"],
    route_class=AuditedRoute,
    responses=documented(400, 401, 422, 503),
)

_ADDRESSES: dict[AddressKind, TypeAdapter[str]] = {
    AddressKind.PHONE: TypeAdapter(Phone),
    AddressKind.EMAIL: TypeAdapter(Email),
    AddressKind.TOKEN: TypeAdapter(Token),
}


class SuppressionIn(Request):
    """An address to suppress: a phone number, email address, device token or subscription's endpoint."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"channel": "email", "address": "ada@example.com", "reason": "asked by phone"}]
        }
    )

    channel: Channel
    address: Address
    reason: Annotated[str, Field(min_length=1, max_length=200), Storable] = "requested"


class SuppressionView(BaseModel):
    """A suppressed address. `source`: `api`, or the provider that reported it. `reason` is `stop` if the
    recipient replied STOP; only the recipient can lift that.
    """

    channel: Channel
    address: str
    reason: str
    source: str
    created_at: Shown

    @classmethod
    def of(cls, suppression: Suppression, *, clear: bool, named: bool = False) -> Self:
        """The view of a stored one. `clear`: with addresses in clear. `named`: the request named its own."""
        view = cls.model_validate(suppression, from_attributes=True)
        view.address = shown(view.channel, view.address, clear=clear or named)
        view.reason = view.reason if clear else scrub(view.reason)
        return view


class SuppressionPage(BaseModel):
    """Suppressions, by channel and address. `next_cursor` requests the next page; null on the last one."""

    suppressions: list[SuppressionView]
    next_cursor: str | None = None


@router.get("", summary="List suppressions")
async def list_suppressions(
    tenant: Tenant,
    ctx: Ctx,
    clear: Clear,
    origin: Source,
    channel: Annotated[Channel | None, Query()] = None,
    address: Annotated[Address | None, Query(description="Needs `channel`.")] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SuppressionPage:
    """List the tenant's suppressed addresses. With `address` and its `channel`, the result includes a STOP
    from the recipient. Addresses are masked without the scope `read:pii`.
    """
    if address is not None:
        if channel is None:
            raise invalid([FieldError("/query/channel", "required", "`address` needs its `channel`")])
        address = normalised(channel, address, "/query/address")
    after = _position(ctx.seal, cursor) if cursor else None
    found = await ctx.users.suppressions(tenant, channel, address, limit + 1, after)
    last = found[limit - 1] if len(found) > limit else None
    if clear and found:
        about = f"{channel} {mask(channel, address)}" if channel and address else channel or "*"
        read = {"count": len(found[:limit])}
        await ctx.audit.record_reading(origin.entry(Action.SUPPRESSIONS_READ, about, after=read))
    return SuppressionPage(
        suppressions=[SuppressionView.of(suppression, clear=clear) for suppression in found[:limit]],
        next_cursor=_cursor(ctx.seal, last) if last else None,
    )


@router.post("", summary="Suppress an address", status_code=201)
async def suppress_address(
    body: Body[SuppressionIn], tenant: Tenant, ctx: Ctx, clear: Clear, origin: Acting
) -> SuppressionView:
    """Suppress an address. If it is suppressed already, it keeps its first reason."""
    address = normalised(body.channel, body.address, "/address")

    async def act(connection: Connection) -> tuple[tuple[Suppression, bool], list[AuditEntry]]:
        stored, added = await suppress(connection, tenant, body.channel, address, body.reason)
        entry = origin.entry(Action.SUPPRESSION_ADD, _about(stored), after=_shown(stored))
        return (stored, added), [entry] if added else []

    stored, added = await ctx.audit.perform(act)
    # The reason of an earlier request may hold addresses: reading it in clear would have to be recorded.
    return SuppressionView.of(stored, clear=clear and added, named=True)


@router.delete("", summary="Lift a suppression", status_code=204, responses=documented(404, 409))
async def lift_suppression(
    tenant: Tenant,
    ctx: Ctx,
    origin: Acting,
    channel: Annotated[Channel, Query()],
    address: Annotated[Address, Query()],
) -> Response:
    """Lift the suppression of an address. 409 `stopped_by_recipient`: only the recipient can lift it."""
    address = normalised(channel, address, "/query/address")

    async def act(connection: Connection) -> tuple[bool, list[AuditEntry]]:
        lifted = await unsuppress(connection, tenant, channel, address)
        if lifted is None:
            return False, []
        return True, [origin.entry(Action.SUPPRESSION_REMOVE, _about(lifted), before=_shown(lifted))]

    if not await ctx.audit.perform(act):
        if await ctx.users.is_suppressed_globally(channel, address):
            raise Problem(
                409,
                "stopped_by_recipient",
                "The recipient replied STOP. Only they can lift it, by sending START to the same sender.",
            )
        raise Problem(404, "suppression_not_found", "This address is not suppressed.")
    return Response(status_code=204)


def _about(suppression: Suppression) -> str:
    return f"{suppression.channel} {mask(suppression.channel, suppression.address)}"


def _shown(suppression: Suppression) -> Details:
    """Return what the audit log keeps of a suppression. Its reason is free text."""
    return {"reason": scrub(suppression.reason), "source": suppression.source}


def normalised(channel: Channel, address: str, pointer: str) -> str:
    """Return an address of a channel in its one spelling. Raises Problem (422) with this pointer."""
    try:
        return _ADDRESSES[ADDRESS_KINDS[channel]].validate_python(address)
    except ValidationError as error:
        found = invalid_body(error).errors
        raise invalid([FieldError(pointer, item.code, item.message) for item in found]) from None


def _cursor(seal: Seal, last: Suppression) -> str:
    return seal.close(json.dumps([last.channel, last.address]))


def _position(seal: Seal, cursor: str) -> tuple[str, str]:
    try:
        channel, address = json.loads(seal.open(cursor))
        adapter = TypeAdapter(tuple[Channel, Text])
        channel, address = adapter.validate_python((channel, address))
    except (ValueError, TypeError, RecursionError):
        raise invalid_cursor() from None
    return channel.value, address
