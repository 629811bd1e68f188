"""Providers: their order in the routes, their status and circuit, and draining them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from api.acts import Acting, AuditedRoute
from api.auth import KeyHolder
from api.bodies import Body
from api.context import AppContext, Ctx
from api.fields import Request, Shown
from api.problems import Problem, documented
from domain.audit import Action, AuditEntry, Origin
from domain.circuit import CircuitState
from domain.notification import Channel
from storage.postgres import Connection
from storage.providers import StoredProvider, set_status

router = APIRouter(
    prefix="/providers", tags=["providers"], route_class=AuditedRoute, responses=documented(401, 422, 503)
)


class ProviderView(BaseModel):
    """A provider. `order` is its position in its channel's route, null if it is not in it. `off`: it is not
    configured. `circuit` is what a worker last reported.
    """

    name: str
    channel: Channel
    order: int | None
    status: Literal["active", "drained", "off"]
    circuit: CircuitState
    circuit_at: Shown | None


class ProvidersView(BaseModel):
    """Every provider, by channel and order, those without an order last. `routes` are the general ones,
    `type_routes` those of types that differ.
    """

    providers: list[ProviderView]
    routes: Mapping[Channel, tuple[str, ...]]
    type_routes: Mapping[str, Mapping[Channel, tuple[str, ...]]]


class ProviderPatch(Request):
    """`drained`: nothing new is sent through it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "drained"}]})

    status: Literal["active", "drained"]


@router.get("", summary="List providers")
async def list_providers(caller: KeyHolder, ctx: Ctx) -> ProvidersView:
    """List every provider with its order, status and circuit."""
    stored = await ctx.provider_store.stored()
    views = [_view(ctx, name, stored.get(name)) for name in ctx.known_providers]
    channels = list(Channel)
    views.sort(key=lambda v: (channels.index(v.channel), v.order is None, v.order or 0, v.name))
    return ProvidersView(
        providers=views,
        routes=ctx.routes,
        type_routes={name: kind.routes for name, kind in ctx.catalog.types.items() if kind.routes},
    )


@router.patch("/{name}", summary="Drain or activate a provider", responses=documented(404, 409))
async def patch_provider(
    name: str, body: Body[ProviderPatch], caller: KeyHolder, ctx: Ctx, origin: Acting
) -> ProviderView:
    """Drain a provider, or activate it again. This affects the whole installation, within seconds."""
    if name not in ctx.known_providers:
        raise Problem(404, "provider_not_found", "There is no provider with this name.")
    if name not in ctx.providers:
        raise Problem(409, "provider_off", "This provider is not configured.")
    # A provider is the installation's, also when the request names a tenant.
    origin = replace(origin, tenant=None)
    await ctx.audit.perform(partial(_set_status, name=name, status=body.status, origin=origin))
    stored = await ctx.provider_store.stored()
    return _view(ctx, name, stored.get(name))


async def _set_status(
    connection: Connection, name: str, status: Literal["active", "drained"], origin: Origin
) -> tuple[None, list[AuditEntry]]:
    if not await set_status(connection, name, status):
        return None, []
    before, action = (
        ("active", Action.PROVIDER_DRAIN) if status == "drained" else ("drained", Action.PROVIDER_ACTIVATE)
    )
    return None, [origin.entry(action, name, {"status": before}, {"status": status})]


def _view(ctx: AppContext, name: str, stored: StoredProvider | None) -> ProviderView:
    channel = ctx.known_providers[name]
    route = ctx.routes[channel]
    status = stored.status if stored else "active"
    return ProviderView.model_validate(
        {
            "name": name,
            "channel": channel,
            "order": route.index(name) + 1 if name in route else None,
            "status": status if name in ctx.providers else "off",
            "circuit": stored.circuit if stored else CircuitState.CLOSED,
            "circuit_at": stored.circuit_at if stored else None,
        }
    )
