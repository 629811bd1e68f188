"""The limits and spend caps: what is configured, and what is counted now."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.auth import KeyedRoute, KeyHolder, Tenant
from api.context import Ctx
from api.fields import Address, Name, Shown
from api.problems import RETRY_AFTER_S, FieldError, Problem, documented, invalid
from api.suppressions import normalised
from delivery.limit_counts import Asked
from domain.countries import Region
from domain.notification import Channel, Lane
from ratelimit.limiter import STORE_LOST

router = APIRouter(
    prefix="/limits", tags=["limits"], route_class=KeyedRoute, responses=documented(401, 422, 503)
)


class LimitView(BaseModel):
    """A limit, and the places that are taken under it. `by` is what it counts by, and `of` the value that is
    shown, in which an address is masked. Only `types` and types of `lanes` count; if both are empty, all do.
    `free_at`: when a place becomes free; null if there is one.
    """

    model_config = ConfigDict(from_attributes=True)

    by: list[str] = Field(examples=[["tenant", "address"]])
    of: str = Field(examples=["shop/+234•••••6789"])
    types: list[str]
    lanes: list[Lane]
    max: int
    per_s: float
    then: Literal["drop", "defer"]
    taken: int
    free_at: Shown | None


class SpendView(BaseModel):
    """A cap on what SMS may cost in a day (UTC), and what is reserved of it today."""

    model_config = ConfigDict(from_attributes=True)

    by: list[str] = Field(examples=[["tenant", "country"]])
    of: str = Field(examples=["shop/NG"])
    max: str = Field(examples=["250"])
    currency: str = Field(examples=["USD"])
    then: Literal["drop", "defer"]
    spent: str = Field(examples=["101.4825"])


class LimitsView(BaseModel):
    """The limits of a channel and, for SMS, the spend caps."""

    channel: Channel
    limits: list[LimitView]
    spend: list[SpendView]


@router.get("", summary="Show limits")
async def show_limits(
    tenant: Tenant,
    holder: KeyHolder,
    ctx: Ctx,
    channel: Annotated[Channel, Query()] = Channel.SMS,
    user_id: Annotated[Name | None, Query(description="Also the limits of this user.")] = None,
    address: Annotated[
        Address | None, Query(description="Also the limits of this address, its prefix and its country.")
    ] = None,
    country: Annotated[
        Region | None, Query(description="The country to show, as two letters. Default: every open one.")
    ] = None,
) -> LimitsView:
    """Show the limits of the tenant with what is counted now. Reading them counts nothing. Those that count
    every tenant's messages together are shown to keys of the installation only.
    """
    if address is not None:
        if channel is Channel.PUSH:
            message = "no limit counts the tokens of devices"
            raise invalid([FieldError("/query/address", "invalid", message)])
        address = normalised(channel, address, "/query/address")
    try:
        limits, spend = await ctx.limit_counts.of(
            Asked(tenant, channel, user_id, address, country, shared=holder.tenant is None)
        )
    except STORE_LOST:
        raise Problem(
            503,
            "limit_store_unavailable",
            "The store of the limits cannot be reached. Retry shortly.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        ) from None
    return LimitsView(
        channel=channel,
        limits=[LimitView.model_validate(limit) for limit in limits],
        spend=[SpendView.model_validate(cap) for cap in spend],
    )
