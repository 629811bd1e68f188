"""When keys were last used: written in the background, at most once a minute per key and process."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from time import monotonic
from typing import Final

import structlog

from storage.postgres import UNREACHABLE

EVERY_S: Final = 60.0
GATHER_S: Final = 1.0
"""How long uses gather before they are written together, in seconds."""
WRITE_S: Final = 2.0
"""How long writing may take, in seconds."""
KNOWN_MAX: Final = 10_000

log = structlog.stdlib.get_logger(__name__)


class KeyUses:
    """Notes uses without delaying a request. `write` stores that these keys are used now."""

    def __init__(self, write: Callable[[Collection[str]], Awaitable[None]]) -> None:
        self._write = write
        self._noted: dict[str, float] = {}
        self._pending: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def note(self, prefix: str) -> None:
        """Note that the key with this prefix is used now."""
        now = monotonic()
        if now < self._noted.get(prefix, 0.0):
            return
        if len(self._noted) >= KNOWN_MAX:
            self._noted.clear()
        self._noted[prefix] = now + EVERY_S
        self._pending.add(prefix)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_soon())

    async def aclose(self) -> None:
        """Write what was noted, for at most WRITE_S."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._flush()

    async def _write_soon(self) -> None:
        while self._pending:
            await asyncio.sleep(GATHER_S)
            await self._flush()

    async def _flush(self) -> None:
        pending, self._pending = self._pending, set()
        if not pending:
            return
        try:
            async with asyncio.timeout(WRITE_S):
                await self._write(pending)
        except UNREACHABLE as error:
            # Only shown to people: the next use is noted again within a minute.
            log.warning("key_use_not_noted", keys=len(pending), why=type(error).__name__)
