"""The loops of a worker process: rounds until cancelled, through outages of the database."""

import asyncio
from typing import NoReturn, Protocol

import structlog

from runtime.shutdown import shielded
from storage.outages import DATABASE_UNAVAILABLE

log = structlog.stdlib.get_logger(__name__)

RETRY_S = 1.0
"""How long a loop rests after the database did not answer."""


class Rounds(Protocol):
    """What a loop does over and over. `failure`: the log event of a round that the database cut short."""

    failure: str

    async def round(self) -> None:
        """One round. It is never cut short."""
        ...

    async def rest(self) -> None:
        """Wait for the next round: until there is work, or the sweep's time has come."""
        ...


async def run_rounds(rounds: Rounds) -> NoReturn:
    """Run until cancelled; a round that is under way ends first."""
    while True:
        try:
            await shielded(rounds.round())
        except DATABASE_UNAVAILABLE as error:
            log.warning(rounds.failure, why=type(error).__name__)
            await asyncio.sleep(RETRY_S)
        else:
            await rounds.rest()
