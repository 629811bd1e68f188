"""The loops of a worker process: rounds until cancelled, through outages of the database."""

import asyncio
from typing import NoReturn, Protocol

import structlog

from runtime.shutdown import shielded
from storage.outages import DATABASE_UNAVAILABLE

log = structlog.stdlib.get_logger(__name__)

RETRY_S = 1.0
"""How long a loop pauses after the database did not answer, in seconds."""


class Rounds(Protocol):
    """The body of a loop. `failure`: the log event if the database interrupts a round."""

    failure: str

    async def round(self) -> None:
        """Run one round. Cancellation waits for its end."""
        ...

    async def rest(self) -> None:
        """Wait for the next round: until there is work, or for one sweep interval."""
        ...

    async def end(self) -> None:
        """Wait for the end of what the rounds began. Called after the last one."""
        return


async def run_rounds(rounds: Rounds) -> NoReturn:
    """Run rounds until cancelled; a round under way, and what the rounds began, ends first."""
    try:
        while True:
            try:
                await shielded(rounds.round())
            except DATABASE_UNAVAILABLE as error:
                log.warning(rounds.failure, why=type(error).__name__)
                await asyncio.sleep(RETRY_S)
            else:
                await rounds.rest()
    finally:
        await shielded(rounds.end())
