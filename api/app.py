"""Builds the API from the settings."""

import traceback
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import Final

import structlog
from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.service import ConnectConfig, ServiceClient

from api import (
    audit,
    batch_submission,
    broadcasts,
    callbacks,
    dead_letters,
    devices,
    health,
    keys,
    limits,
    notifications,
    openapi,
    problems,
    providers,
    suppressions,
    unsubscribe,
    uploads,
    users,
)
from api.auth import Keys
from api.body_limit import BodyLimit
from api.client_address import ClientAddresses
from api.context import AppContext
from api.health import Probes
from api.key_uses import KeyUses
from api.methods import HeadAsGet
from api.rate_limits import RateLimits
from api.reference import Reference
from api.request_ids import REQUEST_ID_RAW, request_id
from api.sealed import Seal
from delivery.limit_counts import LimitCounts
from delivery.operator_commands import OperatorCommands
from delivery.reporting import report_entries
from domain.audit import chain_key
from domain.ids import namespace
from domain.notification import Channel
from domain.web_push import PUSH_SERVICES
from providers import registry
from ratelimit.leases import Lease, TokenLeases
from ratelimit.limiter import Limiter
from settings import Settings
from storage import api_keys
from storage.audit import AuditLog
from storage.audit_queries import AuditReader
from storage.broadcasts import Broadcasts
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool, ping
from storage.providers import Providers
from storage.queries import Queries
from storage.receipts import Receipts
from storage.users import Users
from telemetry.loop_watch import LoopWatch
from telemetry.metrics import CONTENT_TYPE, Metrics
from temporal.tls import tls_config

FLUSH_S: Final = 4.0
"""How long shutdown waits for accepted writes to reach the database."""

log = structlog.stdlib.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Build the API as an ASGI application. It starts even if its dependencies are down: /readyz shows which.

    Raises providers.settings.SettingsError when the catalog is not valid.
    """
    # What is invalid must fail the start, not the first request.
    registry.check_sms(settings.providers, settings.catalog)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            app.state.context = await _context(settings, metrics, stack)
            watch = LoopWatch(metrics.event_loop_held_seconds.record)
            watch.start()
            stack.callback(watch.stop)
            yield

    app = FastAPI(
        title="Herald",
        version="1",
        summary="Delivers notifications once, through whichever provider works, and keeps the evidence.",
        lifespan=lifespan,
        # FastAPI's own spans and metrics would contain paths, and with them user ids and addresses.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        strict_content_type=False,
        redirect_slashes=False,
        openapi_url=None,
    )
    app.state.metrics = metrics
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(LastResort)
    app.add_middleware(HeadAsGet)
    # FastAPI matches a request again in every router that a route is nested in. The direct routes are
    # therefore added to the application itself. Routers are tried in order, so the busiest come first.
    app.router.routes.extend([*notifications.direct.routes, *batch_submission.direct.routes])
    for router in (
        *(part.router for part in (callbacks, notifications, broadcasts, users, devices, suppressions)),
        *(part.router for part in (dead_letters, keys, providers, limits, audit)),
        *(part.router for part in (unsubscribe, uploads)),
    ):
        app.include_router(router, prefix="/v1")
    app.include_router(health.router)

    async def exposed() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    app.add_api_route("/metrics", exposed, include_in_schema=False)
    openapi.correct(app)
    Reference(app)
    _build_routes(app)
    return app


def _build_routes(app: FastAPI) -> None:
    """Build every route now: FastAPI would do it in the first request, and hold the event loop for 0.2 s."""
    for route in app.router.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []})


class LastResort:
    """Answers an unexpected error with a problem, and logs where it happened, without its text. Adds the
    headers that every response has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *problems.PRIVATE, *_added(scope, message)]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            frames = traceback.extract_tb(error.__traceback__)[-5:]
            where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            id = request_id(scope)
            log.error(
                "request_failed",
                error=type(error).__name__,
                where=where,
                method=scope["method"],
                request_id=id,
            )
            if started:
                return
            problem = problems.Problem(500, "internal", "Internal error; it has been logged.")
            await problem.response()(scope, receive, watched)


def _added(scope: Scope, response: Message) -> list[tuple[bytes, bytes]]:
    """The headers that depend on the request: its id, of an error, and the rates of its key."""
    rates = scope.get("state", {}).get("rates")
    added = list(rates()) if rates else []
    if response["status"] >= 400 and REQUEST_ID_RAW not in dict(response["headers"]):
        added.append((REQUEST_ID_RAW, request_id(scope).encode()))
    return added


async def _context(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> AppContext:
    pool = await open_pool(settings.database_dsn, size_max=settings.database_pool_max)
    stack.push_async_callback(_close_pool, pool)
    ledger = Ledger(pool, observe=metrics.observe_group)
    queries = Queries(pool, observe=metrics.observe_group)
    receipts = Receipts(pool, observe=metrics.observe_group)
    secret = settings.secret_key.get_secret_value()
    audit_log = AuditLog(
        pool,
        chain_key(secret),
        appended=partial(report_entries, metrics),
        observe=metrics.observe_group,
    )
    for part in (receipts, queries, ledger, audit_log):
        stack.push_async_callback(part.close, FLUSH_S)
    registry.check_routes(settings.routes)
    built = registry.build(settings.providers, settings.catalog, settings.public_url)
    for provider in built.values():
        stack.push_async_callback(provider.aclose)
    temporal = settings.temporal
    limiter = Limiter.connect(settings.valkey_dsn, timeout_s=1)
    stack.push_async_callback(limiter.aclose)
    uses = KeyUses(partial(api_keys.note_use, pool))
    stack.push_async_callback(uses.aclose)
    return AppContext(
        keys=Keys(partial(api_keys.lookup, pool), uses.note),
        rate_limits=_rate_limits(settings, limiter, metrics, stack),
        ledger=ledger,
        queries=queries,
        users=Users(pool),
        limit_counts=LimitCounts(limiter, settings.catalog, secret),
        audit=audit_log,
        audit_reader=AuditReader(pool),
        commands=OperatorCommands(ledger, queries, audit_log),
        provider_store=Providers(pool),
        broadcasts=Broadcasts(pool),
        receipts=receipts,
        pool=pool,
        probes=await _probes(settings, pool, limiter),
        metrics=metrics,
        providers=built,
        known_providers=registry.KNOWN,
        routes={channel: settings.routes.of(channel) for channel in Channel},
        push_services=webpush.hosts if (webpush := settings.providers.webpush) else PUSH_SERVICES,
        catalog=settings.catalog,
        namespace=namespace(secret),
        seal=Seal(secret),
        fingerprint_keys=settings.fingerprint_secrets,
        unsubscribe_secrets=settings.unsubscribe_secrets,
        public_url=settings.public_url.rstrip("/"),
        reason_required=settings.audit_reason_required,
        workflow_url=f"{temporal.ui_url.rstrip('/')}/namespaces/{temporal.namespace}/workflows/",
    )


def _rate_limits(settings: Settings, limiter: Limiter, metrics: Metrics, stack: AsyncExitStack) -> RateLimits:
    async def lease(name: str, per_s: float, capacity: float, owed: float, wanted: int) -> Lease:
        return Lease(*await limiter.lease(name, per_s, capacity, owed, wanted))

    leases = TokenLeases(lease)
    stack.push_async_callback(leases.aclose)
    addresses = ClientAddresses([ip_network(str(network)) for network in settings.trusted_proxies])
    return RateLimits(
        settings.catalog.api, leases, addresses, lambda reason: metrics.requests_refused.add(reason=reason)
    )


async def _probes(settings: Settings, pool: Pool, limiter: Limiter) -> Probes:
    temporal = settings.temporal
    service = await ServiceClient.connect(
        ConnectConfig(
            target_host=temporal.address,
            tls=tls_config(temporal.tls_files),
            api_key=temporal.api_key_in_clear,
            lazy=True,
        )
    )

    async def postgres_answers() -> None:
        await ping(pool, timeout_s=1)

    async def temporal_answers() -> None:
        await service.check_health(timeout=timedelta(seconds=1))

    return Probes({"postgres": postgres_answers, "valkey": limiter.ping, "temporal": temporal_answers})


async def _close_pool(pool: Pool) -> None:
    # Closing gracefully could hang: the server behind a connection may be gone.
    pool.terminate()
