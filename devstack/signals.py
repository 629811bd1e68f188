"""Run work until Ctrl-C, SIGTERM or SIGHUP: the first signal stops it in order, a later one at once."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_SAME_REQUEST_S = 1
"""Signals within this time count as one: a caller may signal both the process and its process group."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Result = TypeVar("Result")


async def until_stopped(
    work: Coroutine[Any, Any, Result], say: Callable[[str], None], kill: Callable[[], None]
) -> Result | None:
    """Return the work's result, or None if a signal stopped it. A second signal calls `kill`."""
    working = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    asked_at: float | None = None

    def stop() -> None:
        nonlocal asked_at
        if asked_at is None:
            asked_at = loop.time()
            say("stopping …")
            working.cancel()
        elif loop.time() - asked_at > _SAME_REQUEST_S:
            kill()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await working
    except asyncio.CancelledError:
        say("stopped")
        return None
