"""Stopping a process in order: work that must not be cut short, and a bound on how long stopping may take."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.stdlib.get_logger("herald.worker")

Result = TypeVar("Result")


async def shielded(work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result. When cancelled, let the work end first.

    A start of a workflow that is cut short in the middle may have been made, and its first task given to
    this very process: nobody would run it, and the worker would wait for it for as long as it stops.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


class ShutdownWatchdog:
    """Bounds the stop. Core waits for a Temporal that does not answer for as long as that takes, while what
    was in flight has long ended and is recorded.
    """

    _timer: asyncio.TimerHandle | None = None

    def start(self, timeout_s: float) -> None:
        """Leave the process `timeout_s` seconds from now, whatever still holds it."""
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._leave)

    def stop(self) -> None:
        """The process stopped in time."""
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self) -> None:
        log.error("worker_stop_overdue")
        sys.stderr.flush()
        os._exit(1)
