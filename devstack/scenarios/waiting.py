"""Waiting for conditions, each with its bound: nothing here waits for a fixed time and hopes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_S = 0.05

Found = TypeVar("Found")


class NotInTime(Exception):
    """A condition was not met within its bound. The message names it and what was seen last."""


def _all_of_it(found: object) -> object:
    return found


async def until(
    what: str,
    look: Callable[[], Awaitable[Found]],
    enough: Callable[[Found], bool],
    within_s: float,
    shown: Callable[[Found], object] = _all_of_it,
) -> Found:
    """What `look` finds once it is `enough`. Raises NotInTime, which tells what is `shown` of it."""
    deadline = time.monotonic() + within_s
    while True:
        found = await look()
        if enough(found):
            return found
        if time.monotonic() >= deadline:
            raise NotInTime(f"{what}: not within {within_s:g} s, last seen: {shown(found)}")
        await asyncio.sleep(POLL_S)


async def stays(look: Callable[[], Awaitable[Found]], fine: Callable[[Found], bool], for_s: float) -> Found:
    """What `look` finds as soon as it is not `fine` any more, else what it finds at the end of `for_s`."""
    deadline = time.monotonic() + for_s
    while True:
        found = await look()
        if not fine(found) or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(POLL_S * 2)
