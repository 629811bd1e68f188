"""How many notifications this process is carrying through their first pass."""

import asyncio
import contextlib
import time

GIVEN_UP_S = 60.0
"""One that was never reported done (its workflow runs elsewhere, or died) frees its place after this."""


class FirstPasses:
    """The places for first passes. Local activities hold workflow-task slots, so there are fewer of these."""

    def __init__(self, places_max: int) -> None:
        self._places_max = places_max
        self._since: dict[str, float] = {}
        self._freed = asyncio.Event()

    def free(self) -> int:
        """How many more may begin now."""
        oldest = time.monotonic() - GIVEN_UP_S
        for notification_id, since in list(self._since.items()):
            if since > oldest:
                break
            del self._since[notification_id]
        return max(0, self._places_max - len(self._since))

    def begin(self, notification_id: str) -> None:
        """A first pass begins."""
        # Anew at the end: `free` looks at the oldest first.
        self._since.pop(notification_id, None)
        self._since[notification_id] = time.monotonic()

    def done(self, notification_id: str) -> None:
        """A first pass is over, whatever it came to."""
        if self._since.pop(notification_id, None) is not None:
            self._freed.set()

    async def wait_for_places(self, count: int, timeout_s: float) -> None:
        """Wait until so many places are free, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.free() < count:
                    self._freed.clear()
                    await self._freed.wait()
