"""The slots of a worker process for first passes."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping

RECLAIM_S = 60.0
"""A slot that was not released (its workflow runs elsewhere, or died) is free again after this."""


class InFlightSlots:
    """Bounds the first passes at once. Their local activities hold workflow-task slots, of which there are
    more.
    """

    def __init__(self, slots_max: int) -> None:
        self._slots_max = slots_max
        self._since: dict[str, tuple[float, int]] = {}
        self._held: Counter[int] = Counter()
        self._freed = asyncio.Event()

    def free(self) -> int:
        """How many more may start now."""
        oldest = time.monotonic() - RECLAIM_S
        for notification_id, (since, _) in list(self._since.items()):
            if since > oldest:
                break
            self._drop(notification_id)
        return max(0, self._slots_max - len(self._since))

    def held(self) -> Mapping[int, int]:
        """How many slots each turn has (domain.fairness.turn_of); turns without any are missing."""
        return self._held

    def take(self, notification_id: str, turn: int = 0) -> None:
        """A first pass starts."""
        # Moved to the end: `free` checks the oldest first.
        self._drop(notification_id)
        self._since[notification_id] = (time.monotonic(), turn)
        self._held[turn] += 1

    def release(self, notification_id: str) -> None:
        """A first pass ended."""
        if self._drop(notification_id):
            self._freed.set()

    async def released(self) -> None:
        """Wait until a slot is released."""
        self._freed.clear()
        await self._freed.wait()

    async def wait_for(self, count: int, timeout_s: float) -> None:
        """Wait until `count` slots are free, or `timeout_s` has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.free() < count:
                    self._freed.clear()
                    await self._freed.wait()

    def _drop(self, notification_id: str) -> bool:
        known = self._since.pop(notification_id, None)
        if known is None:
            return False
        self._held[known[1]] -= 1
        if not self._held[known[1]]:
            del self._held[known[1]]
        return True
