"""Suppressed addresses: nothing is sent to them, whatever the type."""

import base64
import binascii
import json
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api.auth import KeyedRoute, Tenant
from api.context import Ctx
from api.fields import Address, Email, Phone, Request, Shown, Storable, Text, Token
from api.problems import FieldError, Problem, documented, invalid, invalid_body
from domain.notification import ADDRESS_KINDS, AddressKind, Channel
from storage.users import Suppression

router = APIRouter(
    prefix="/suppressions",
    tags=["suppressions"],
    route_class=KeyedRoute,
    responses=documented(401, 422, 503),
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
    def of(cls, suppression: Suppression) -> Self:
        """The view of a stored one."""
        return cls.model_validate(suppression, from_attributes=True)


class SuppressionPage(BaseModel):
    """Suppressions, by channel and address. `next_cursor` requests the next page; null on the last one."""

    suppressions: list[SuppressionView]
    next_cursor: str | None = None


@router.get("", summary="List suppressions")
async def list_suppressions(
    tenant: Tenant,
    ctx: Ctx,
    channel: Annotated[Channel | None, Query()] = None,
    address: Annotated[Address | None, Query(description="Needs `channel`.")] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SuppressionPage:
    """List the tenant's suppressed addresses. With `address` and its `channel`, the result includes a STOP
    from the recipient.
    """
    if address is not None:
        if channel is None:
            raise invalid([FieldError("/query/channel", "required", "`address` needs its `channel`")])
        address = _normalised(channel, address, "/query/address")
    after = _position(cursor) if cursor else None
    found = await ctx.users.suppressions(tenant, channel, address, limit + 1, after)
    views = [SuppressionView.of(suppression) for suppression in found[:limit]]
    more = len(found) > limit
    return SuppressionPage(
        suppressions=views, next_cursor=_cursor(views[-1].channel, views[-1].address) if more else None
    )


@router.post("", summary="Suppress an address", status_code=201)
async def suppress(body: SuppressionIn, tenant: Tenant, ctx: Ctx) -> SuppressionView:
    """Suppress an address. If it is suppressed already, it keeps its first reason."""
    address = _normalised(body.channel, body.address, "/address")
    return SuppressionView.of(await ctx.users.suppress(tenant, body.channel, address, body.reason))


@router.delete("", summary="Lift a suppression", status_code=204, responses=documented(404, 409))
async def unsuppress(
    tenant: Tenant,
    ctx: Ctx,
    channel: Annotated[Channel, Query()],
    address: Annotated[Address, Query()],
) -> Response:
    """Lift the suppression of an address. 409 `stopped_by_recipient`: only the recipient can lift it."""
    normalised = _normalised(channel, address, "/query/address")
    if not await ctx.users.unsuppress(tenant, channel, normalised):
        if await ctx.users.is_suppressed_globally(channel, normalised):
            raise Problem(
                409,
                "stopped_by_recipient",
                "The recipient replied STOP. Only they can lift it, by sending START to the same sender.",
            )
        raise Problem(404, "suppression_not_found", "This address is not suppressed.")
    return Response(status_code=204)


def _normalised(channel: Channel, address: str, pointer: str) -> str:
    try:
        return _ADDRESSES[ADDRESS_KINDS[channel]].validate_python(address)
    except ValidationError as error:
        found = invalid_body(error).errors
        raise invalid([FieldError(pointer, item.code, item.message) for item in found]) from None


def _cursor(channel: str, address: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([channel, address]).encode()).decode()


def _position(cursor: str) -> tuple[str, str]:
    try:
        channel, address = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        adapter = TypeAdapter(tuple[Channel, Text])
        channel, address = adapter.validate_python((channel, address))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        message = "invalid cursor: use the `next_cursor` of this list"
        raise invalid([FieldError("/query/cursor", "invalid_cursor", message)]) from None
    return channel.value, address
