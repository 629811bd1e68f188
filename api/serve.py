"""Runs the API until it is told to stop."""

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
"""How long requests that are under way may take to end."""
KEEP_ALIVE_S: Final = 75
"""How long an idle connection is kept: longer than clients and load balancers keep theirs (up to a minute),
or a request meets a connection that is just being closed.
"""
GARBAGE: Final = (5_000, 20, 100)
"""After how many new objects they are looked through for cycles: what a request makes has none, and with
Python's 700 looking took a twelfth of the API's time.
"""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT: then nothing new is taken, and what is under way is answered.

    Raises SettingsError, before anything is served, when the routes or a provider's settings cannot be used.
    """
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(_try_providers(settings))
    app = create_app(settings)
    # What was imported and made stays: looking through it for garbage again would stop requests for 0.1 s.
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
