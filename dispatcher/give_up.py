"""The last resort of a process that should have stopped."""

import asyncio
import os
import sys

import structlog

log = structlog.stdlib.get_logger("herald.worker")


class GiveUp:
    """Bounds the stop. Core waits for a Temporal that does not answer for as long as that takes, while what
    was in flight has long ended and is recorded.
    """

    _timer: asyncio.TimerHandle | None = None

    def begin(self, after_s: float) -> None:
        """Leave the process so many seconds from now, whatever still holds it."""
        self._timer = asyncio.get_running_loop().call_later(after_s, self._leave)

    def end(self) -> None:
        """It stopped in time."""
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self) -> None:
        log.error("worker_stop_overdue")
        sys.stderr.flush()
        os._exit(1)
