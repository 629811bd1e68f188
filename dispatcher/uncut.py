"""Work that is not cut short when its loop is told to stop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def uncut(work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result; cancelled, it lets the work end before it is.

    A start of a workflow that is cut short in the middle may have been made, and its first task given to
    this very process: it would be nobody's, and the worker would wait for it for as long as it stops.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
