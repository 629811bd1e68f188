"""Wakes the loops of a worker on notifications from Postgres, over a separate connection."""

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
    """Turns NOTIFY into events. A lost connection delays a wake-up by at most one sweep."""

    def __init__(self, database_url: str, channels: Iterable[str]) -> None:
        self._database_url = database_url
        # By channel and waiter: waking one waiter keeps the wake-ups of the others.
        self._events: dict[str, dict[str, asyncio.Event]] = {
            channel: {"": asyncio.Event()} for channel in channels
        }
        self._payloads: dict[str, set[str]] = {channel: set() for channel in self._events}

    async def wait(self, channel: str, timeout_s: float, waiter: str = "") -> None:
        """Wait for a notification on the channel since this waiter's last wait, at most `timeout_s`."""
        event = self._event(channel, waiter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()
            event.clear()

    async def payloads(self, channel: str) -> list[str]:
        """Wait for payloads on the channel, and return all that have gathered, each once."""
        event = self._event(channel)
        while not self._payloads[channel]:
            event.clear()
            await event.wait()
        taken = list(self._payloads[channel])
        self._payloads[channel].clear()
        return taken

    async def run(self) -> None:
        """Listen until cancelled, reconnecting whenever the connection is lost."""
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
                # Notifications may have been missed while disconnected: wake every waiter once.
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
            # Notifications may predate the first wait: wake it once.
            events[waiter] = asyncio.Event()
            events[waiter].set()
        return events[waiter]

    def _wake(self, channel: str) -> None:
        for event in self._events[channel].values():
            event.set()
