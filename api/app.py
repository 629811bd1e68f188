"""Builds the API from the settings."""

import traceback
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.service import ConnectConfig, ServiceClient

from api import (
    broadcasts,
    callbacks,
    dead_letters,
    devices,
    health,
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
from api.context import AppContext
from api.health import Probes
from api.methods import HeadAsGet
from delivery.operator_commands import OperatorCommands
from domain.ids import namespace
from domain.notification import Channel
from domain.web_push import PUSH_SERVICES
from providers import registry
from ratelimit.limiter import Limiter
from settings import Settings
from storage import api_keys
from storage.broadcasts import Broadcasts
from storage.ledger import Ledger
from storage.postgres import Pool, open_pool, ping
from storage.providers import Providers
from storage.queries import Queries
from storage.receipts import Receipts
from storage.users import Users
from telemetry.metrics import CONTENT_TYPE, Metrics
from temporal.tls import tls_config

FLUSH_S: Final = 4.0
"""How long shutdown waits for accepted writes to reach the database."""

log = structlog.stdlib.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Build the API as an ASGI application. It starts even if its dependencies are down: /readyz shows which.

    Raises providers.settings.SettingsError when the catalog is not valid.
    """
    settings.catalog  # noqa: B018 (an invalid catalog must fail the start, not the first request)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            app.state.context = await _context(settings, metrics, stack)
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
    )
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(LastResort)
    app.add_middleware(HeadAsGet)
    # FastAPI matches a request again in every router that a route is nested in. The direct routes are
    # therefore added to the application itself.
    app.router.routes.extend(notifications.direct.routes)
    for router in (
        *(part.router for part in (notifications, broadcasts, users, devices, suppressions)),
        *(part.router for part in (dead_letters, providers, callbacks, unsubscribe, uploads)),
    ):
        app.include_router(router, prefix="/v1")
    app.include_router(health.router)

    async def exposed() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    app.add_api_route("/metrics", exposed, include_in_schema=False)
    openapi.correct(app)
    return app


class LastResort:
    """Answers an unexpected error with a problem, and logs where it happened, without its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            frames = traceback.extract_tb(error.__traceback__)[-5:]
            where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            log.error("request_failed", error=type(error).__name__, where=where, method=scope["method"])
            if started:
                return
            problem = problems.Problem(500, "internal", "Internal error; it has been logged.")
            await problem.response()(scope, receive, send)


async def _context(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> AppContext:
    pool = await open_pool(settings.database_dsn, size_max=settings.database_pool_max)
    stack.push_async_callback(_close_pool, pool)
    ledger = Ledger(pool, observe=metrics.observe_group)
    queries = Queries(pool, observe=metrics.observe_group)
    receipts = Receipts(pool, observe=metrics.observe_group)
    for part in (receipts, queries, ledger):
        stack.push_async_callback(part.close, FLUSH_S)
    registry.check_routes(settings.routes)
    built = registry.build(settings.providers, settings.catalog, settings.public_url)
    for provider in built.values():
        stack.push_async_callback(provider.aclose)
    secret = settings.secret_key.get_secret_value()
    temporal = settings.temporal
    return AppContext(
        keys=Keys(partial(api_keys.lookup, pool)),
        ledger=ledger,
        queries=queries,
        users=Users(pool),
        commands=OperatorCommands(ledger, queries),
        provider_store=Providers(pool),
        broadcasts=Broadcasts(pool),
        receipts=receipts,
        probes=await _probes(settings, pool, stack),
        metrics=metrics,
        providers=built,
        known_providers=registry.KNOWN,
        routes={channel: settings.routes.of(channel) for channel in Channel},
        push_services=webpush.hosts if (webpush := settings.providers.webpush) else PUSH_SERVICES,
        catalog=settings.catalog,
        namespace=namespace(secret),
        fingerprint_keys=settings.fingerprint_secrets,
        unsubscribe_secrets=settings.unsubscribe_secrets,
        public_url=settings.public_url.rstrip("/"),
        workflow_url=f"{temporal.ui_url.rstrip('/')}/namespaces/{temporal.namespace}/workflows/",
    )


async def _probes(settings: Settings, pool: Pool, stack: AsyncExitStack) -> Probes:
    limiter = Limiter.connect(settings.valkey_dsn, timeout_s=1)
    stack.push_async_callback(limiter.aclose)
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
