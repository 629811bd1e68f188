"""Wakes the loops of a worker when Postgres notifies, over one connection of its own."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import asyncpg
import structlog

from storage.outages import DATABASE_UNAVAILABLE

log = structlog.stdlib.get_logger(__name__)

RECONNECT_S = 1.0


class Listener:
    """Turns NOTIFY into events. A lost connection costs a sweep's delay, never a wake-up for good."""

    def __init__(self, database_url: str, channels: Iterable[str]) -> None:
        self._database_url = database_url
        # By channel and by who waits: one that is woken leaves the others' wake-ups alone.
        self._events: dict[str, dict[str, asyncio.Event]] = {
            channel: {"": asyncio.Event()} for channel in channels
        }
        self._payloads: dict[str, set[str]] = {channel: set() for channel in self._events}

    async def wait(self, channel: str, timeout_s: float, waiter: str = "") -> None:
        """Wait for a notification on the channel since this waiter's last wait, at most so long."""
        event = self._event(channel, waiter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()
            event.clear()

    async def payloads(self, channel: str) -> list[str]:
        """Wait for what is notified on the channel, and take all that gathered, each once."""
        event = self._event(channel)
        while not self._payloads[channel]:
            event.clear()
            await event.wait()
        taken = list(self._payloads[channel])
        self._payloads[channel].clear()
        return taken

    async def run(self) -> None:
        """Listen until cancelled, connecting again whenever the connection is lost."""
        while True:
            try:
                await self._listen()
            except DATABASE_UNAVAILABLE as error:
                log.warning("listener_lost", why=type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._database_url, timeout=5)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        try:
            for channel in self._events:
                await connection.add_listener(channel, self._notified)
                # What was notified while nobody listened is looked for once.
                self._wake(channel)
            await lost.wait()
        finally:
            await connection.close(timeout=1)

    def _notified(self, _connection: Any, _pid: int, channel: str, payload: object) -> None:
        if payload:
            self._payloads[channel].add(str(payload))
        self._wake(channel)

    def _event(self, channel: str, waiter: str = "") -> asyncio.Event:
        events = self._events[channel]
        if waiter not in events:
            # Whatever was notified before it first waited is looked for once.
            events[waiter] = asyncio.Event()
            events[waiter].set()
        return events[waiter]

    def _wake(self, channel: str) -> None:
        for event in self._events[channel].values():
            event.set()
