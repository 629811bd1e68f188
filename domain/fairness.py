"""Turns among tenants: each tenant with work due in a lane gets its share of a claim. Pure."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from domain.notification import Lane

CONTENDED_S = 30.0
"""How long after a tenant's last claim in a lane other tenants leave room for it, in seconds."""

_STEP: Final = 2_654_435_769
"""2^32 divided by the golden ratio: multiples of it, modulo 2^32, are spread evenly."""


@lru_cache(maxsize=10_000)
def turn_of(tenant: str) -> int:
    """The number by which the queue orders a tenant's notifications: of 32 bits, as `due.turn` has it.

    Two tenants with the same number take turns as one.
    """
    return zlib.crc32(tenant.encode()) - 2**31


@dataclass(frozen=True, slots=True)
class Shares:
    """How a claim is divided. `weights`: shares by turn, 1 for those that are missing. `rooms`: the most that
    a turn may get, `room` for those that are missing; None: any number. `after`: the turn before the first.
    """

    weights: Mapping[int, int] = field(default_factory=dict[int, int])
    rooms: Mapping[int, int] = field(default_factory=dict[int, int])
    room: int | None = None
    after: int = 0


EQUAL: Final = Shares()


class Turns:
    """What one process knows of the tenants' turns. Times are monotonic seconds.

    `spiking`: the turns of each lane that batches take because of their backlog. `last`: the last turn that
    was claimed in each lane, after which the next claim begins.
    """

    def __init__(self) -> None:
        self.spiking: dict[Lane, set[int]] = {lane: set() for lane in Lane}
        self.last: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._claimed_at: dict[Lane, dict[int, float]] = {lane: {} for lane in Lane}

    def claimed(self, lane: Lane, turn: int, now: float) -> None:
        """A notification of the turn was claimed."""
        self._claimed_at[lane][turn] = now
        self.last[lane] = turn

    def nothing_due(self, lane: Lane) -> None:
        """A claim found nothing. The next one begins elsewhere: each examines a limited number of turns."""
        self.last[lane] = (self.last[lane] + _STEP + 2**31) % 2**32 - 2**31

    def is_contended(self, lane: Lane, now: float) -> bool:
        """Whether more than one turn was active recently."""
        claimed_at = self._claimed_at[lane]
        if len(claimed_at) < 2:
            return False
        for turn in [turn for turn, at in claimed_at.items() if at <= now - CONTENDED_S]:
            del claimed_at[turn]
        return len(claimed_at) > 1
