"""Wait for conditions with a time limit, instead of sleeping for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_S = 0.05

Value = TypeVar("Value")


class WaitTimeout(Exception):
    """A condition did not hold within its time limit. The message names it and the last value seen."""


def _unchanged(found: object) -> object:
    return found


async def until(
    what: str,
    look: Callable[[], Awaitable[Value]],
    condition: Callable[[Value], bool],
    within_s: float,
    shown: Callable[[Value], object] = _unchanged,
) -> Value:
    """Poll `look` until `condition` holds, and return its value.

    Raises WaitTimeout after `within_s`, with what `shown` selects of the last value.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = await look()
        if condition(found):
            return found
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"{what}: not within {within_s:g} s, last seen: {shown(found)}")
        await asyncio.sleep(POLL_S)


async def stays(
    look: Callable[[], Awaitable[Value]], condition: Callable[[Value], bool], for_s: float
) -> Value:
    """Poll `look` for `for_s`, or until `condition` no longer holds, and return its last value."""
    deadline = time.monotonic() + for_s
    while True:
        found = await look()
        if not condition(found) or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(POLL_S * 2)
