"""Runs the API until it is told to stop."""

from typing import Final

import uvicorn

from api.app import create_app
from settings import Settings

DRAIN_S: Final = 8
"""How long requests that are under way may take to end."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT: then nothing new is taken, and what is under way is answered."""
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="h11",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        h11_max_incomplete_event_size=65_536,
    )
