"""Runs the API until SIGTERM or SIGINT."""

import asyncio
import gc
import resource
from functools import partial
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.connections import ConnectionLimits, Connections
from api.protocol import BoundedHttp
from providers import registry
from settings import Settings
from telemetry import logs
from telemetry.metrics import Metrics

DRAIN_S: Final = 8
"""How long open requests may take to finish at shutdown."""
FILES_FOR_OTHERS: Final = 100
"""Open files besides the connections of clients and those to Postgres."""
GARBAGE: Final = (5_000, 20, 100)
"""The garbage collector's thresholds. Requests create no reference cycles, and with Python's default of 700
new objects, looking for them took a twelfth of the API's time.
"""

log = structlog.stdlib.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then accept nothing new and finish the open requests.

    Raises SettingsError, before serving, when the routes or a provider's settings are not valid.
    """
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(_try_providers(settings))
    app = create_app(settings)
    # What exists now stays: looking through it for garbage would stop requests for 0.1 s.
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http=protocol(app, settings),
        ws="none",
        # Only HERALD_TRUSTED_PROXIES says who may name a client's address (api.client_address).
        proxy_headers=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


def protocol(app: FastAPI, settings: Settings) -> Any:
    """Return what makes the protocol of each connection."""
    limits = ConnectionLimits(
        connections_max=_files_for(settings), per_address_max=settings.api_connections_per_address_max
    )
    metrics: Metrics = app.state.metrics
    connections = Connections(limits, lambda reason: metrics.requests_refused.add(reason=reason))
    return partial(BoundedHttp, connections=connections)


def _files_for(settings: Settings) -> int:
    """Return how many connections the process may have: as many as were set, or as its open files allow."""
    wanted, others = settings.api_connections_max, settings.database_pool_max + FILES_FOR_OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + others
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    if raised < needed:
        log.warning("connections_limited_by_open_files", wanted=wanted, allowed=raised - others)
    return raised - others


async def _try_providers(settings: Settings) -> None:
    registry.check_routes(settings.routes)
    for provider in registry.build(settings.providers, settings.catalog, settings.public_url).values():
        await provider.aclose()
