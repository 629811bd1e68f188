"""Lets other requests run during the work of a long one: nothing else runs while the event loop is held."""

import asyncio
from time import perf_counter
from typing import Final

TURN_S: Final = 0.008
"""How long a request may work before it lets others run."""


class Turns:
    """The turns of one request. `await turns.give()` between the parts of its work, each of them short."""

    def __init__(self) -> None:
        self._ends = perf_counter() + TURN_S

    def is_over(self) -> bool:
        """Whether this request has worked for TURN_S: asking costs less than an empty `give`."""
        return perf_counter() >= self._ends

    async def give(self) -> None:
        """Let other requests run if this one has worked for TURN_S."""
        if self.is_over():
            await asyncio.sleep(0)
            self._ends = perf_counter() + TURN_S
