"""Orderly shutdown: work that must not be interrupted, and a limit on how long stopping may take."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.stdlib.get_logger("herald.worker")

Result = TypeVar("Result")


async def shielded(work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work. If cancelled, wait until the work has ended first.

    An interrupted start of a workflow may have reached Temporal, which then gives the first task to this
    process: no worker would run it, and stopping would wait for it.
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
    """Limits how long stopping may take. Core waits without limit for a Temporal that does not answer,
    although all work has ended and is recorded.
    """

    _timer: asyncio.TimerHandle | None = None

    def start(self, timeout_s: float) -> None:
        """Exit the process `timeout_s` seconds from now, even if it has not stopped."""
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._leave)

    def stop(self) -> None:
        """The process stopped in time."""
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self) -> None:
        log.error("worker_stop_overdue")
        sys.stderr.flush()
        os._exit(1)
