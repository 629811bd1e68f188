"""Runs the API until SIGTERM or SIGINT."""

import asyncio
import gc
from typing import Final

import uvicorn

from api.app import create_app
from api.protocol import BoundedHeads
from providers import registry
from settings import Settings
from telemetry import logs

DRAIN_S: Final = 8
"""How long open requests may take to finish at shutdown."""
KEEP_ALIVE_S: Final = 75
"""How long an idle connection is kept: longer than clients and load balancers keep theirs (up to a minute),
so that no request is sent on a connection that is just being closed.
"""
GARBAGE: Final = (5_000, 20, 100)
"""The garbage collector's thresholds. Requests create no reference cycles, and with Python's default of 700
new objects, looking for them took a twelfth of the API's time.
"""


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
        http=BoundedHeads,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


async def _try_providers(settings: Settings) -> None:
    registry.check_routes(settings.routes)
    for provider in registry.build(settings.providers, settings.catalog, settings.public_url).values():
        await provider.aclose()
