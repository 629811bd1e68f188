"""Measures how long the callbacks of the event loop run: nothing else can run in the meantime."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import thread_time


@dataclass
class Holds:
    """`seconds`: the CPU time of each callback of the loop that took a millisecond or more."""

    seconds: list[float] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        return max(self.seconds, default=0.0)


@contextmanager
def holds() -> Iterator[Holds]:
    """Record the callbacks of asyncio's own loop in this thread, in CPU time: a busy machine adds nothing."""
    found = Holds()
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        begun = thread_time()
        run(handle)
        took = thread_time() - begun
        if took >= 0.001:
            found.seconds.append(took)

    asyncio.Handle._run = timed
    try:
        yield found
    finally:
        asyncio.Handle._run = run
