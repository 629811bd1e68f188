"""The slots of a worker process for first passes."""

import asyncio
import contextlib
import time

RECLAIM_S = 60.0
"""A slot that was not released (its workflow runs elsewhere, or died) is free again after this."""


class InFlightSlots:
    """Bounds the first passes at once. Their local activities hold workflow-task slots, of which there are
    more.
    """

    def __init__(self, slots_max: int) -> None:
        self._slots_max = slots_max
        self._since: dict[str, float] = {}
        self._freed = asyncio.Event()

    def free(self) -> int:
        """How many more may start now."""
        oldest = time.monotonic() - RECLAIM_S
        for notification_id, since in list(self._since.items()):
            if since > oldest:
                break
            del self._since[notification_id]
        return max(0, self._slots_max - len(self._since))

    def take(self, notification_id: str) -> None:
        """A first pass starts."""
        # Moved to the end: `free` checks the oldest first.
        self._since.pop(notification_id, None)
        self._since[notification_id] = time.monotonic()

    def release(self, notification_id: str) -> None:
        """A first pass ended."""
        if self._since.pop(notification_id, None) is not None:
            self._freed.set()

    async def wait_for(self, count: int, timeout_s: float) -> None:
        """Wait until `count` slots are free, or `timeout_s` has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.free() < count:
                    self._freed.clear()
                    await self._freed.wait()
