"""Turns among tenants: each tenant with work due in a lane gets its share of a claim. Pure."""

import zlib
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Final

from domain.notification import Lane

CONTENDED_S = 30.0
"""How long after a tenant's last claim in a lane other tenants leave room for it, in seconds."""
BACKLOG_S = 0.25
"""A tenant whose notifications are claimed later than this after their due time has a backlog."""
UNDER_WAY = 4
"""How many first passes of each tenant without a burst may be under way in one process, under contention."""
START_ROOM, BATCH_ROOM = 0.5, 4.0
"""The rooms of bursts when contention begins: of starts, each with a workflow, and of a lane's batches."""
ROOM_MIN = 0.05
QUIET_ROOM = 0.2
"""In a smaller room a burst slows nothing down: what is slow then is usual."""
SAMPLES = 8
"""A room changes after this many requests."""
SHRINKAGE, GROWTH, FAST_GROWTH = 0.6, 1.05, 1.15
"""What a room is multiplied with when requests are slow, not slow, and far from slow."""
REST_S = 0.05
"""The rest after each, in seconds, in a room of a half; it grows as the room shrinks."""
YIELD_S = 0.1
"""How much longer a burst in a room smaller than one waits for other tenants' first passes to end."""
ALONE_S = 0.25
"""In a room smaller than one, the burst's own requests count once others have made none for this long."""

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


class Room:
    """How many first passes of tenants with a burst may be under way in one process, while others are active.

    It grows while requests to Temporal and the ledger take as long as usual, and shrinks when they slow down:
    what slows them down slows the other tenants' notifications down as well. How long vendors take does not
    matter. A room smaller than one is one at a time, with a rest after each, and for a moment not beside
    another tenant's: the burst's own requests then say little about how long those of others take.
    """

    def __init__(self, room_max: float, slow_ratio: float, first: float) -> None:
        """`slow_ratio`: a request that takes this many times as long as usual is slow. `first`: the room when
        contention begins.
        """
        self._room = self._first = min(first, room_max)
        self._room_max = room_max
        self._slow_ratio = slow_ratio
        self._usual_s: float | None = None
        self._resting_since: float | None = None
        self._yields = False
        self._others_at = float("-inf")
        self._took_s: list[float] = []

    def rooms(
        self,
        turns: Collection[int],
        weights: Mapping[int, int],
        held: Mapping[int, int],
        now: float,
        *,
        at_once: bool = False,
    ) -> dict[int, int]:
        """How many more each of these turns, those with a burst, may begin now, by their weights.

        `held`: how many each turn has under way. `at_once`: none until half of the room is free.
        """
        under_way = sum(held.get(turn, 0) for turn in turns)
        left = self._left(under_way, sum(held.values()) - under_way, now)
        if at_once and left <= self.places // 2:
            left = 0
        shares = {turn: weights.get(turn, 1) for turn in turns}
        share = left and max(1, left // max(1, sum(shares.values())))
        return {turn: share * weight for turn, weight in shares.items()}

    def _left(self, under_way: int, others: int, now: float) -> int:
        if not self.rest_s:
            return max(0, self.places - under_way)
        if under_way:
            self._resting_since = None
            return 0
        if self._resting_since is None:
            self._resting_since = now
        self._yields = others > 0
        return 0 if self.resting_s(now) else 1

    def resting_s(self, now: float) -> float:
        """How much longer to rest, in seconds; shorter once no other tenant's first pass is under way."""
        if self._resting_since is None:
            return 0.0
        return max(0.0, self._resting_since + self.rest_s + self._yields * YIELD_S - now)

    @property
    def places(self) -> int:
        """How many may be under way, at least one."""
        return max(1, int(self._room))

    @property
    def largest(self) -> int:
        """How many each tenant without a burst may have under way: what is more is the beginning of one."""
        return max(self.places, min(UNDER_WAY, int(self._room_max)))

    @property
    def rest_s(self) -> float:
        """How long to wait after each before the next one, in seconds."""
        return max(0.0, REST_S / self._room - REST_S)

    def took(self, seconds: float, now: float, *, burst: bool, own: bool = False) -> None:
        """A request took this long. `burst`: while a tenant has a burst and others are active. `own`: it was
        for a tenant with a burst, while others without one are active.
        """
        if not own:
            self._others_at = now
        elif self.rest_s and now < self._others_at + ALONE_S:
            return
        self._took_s.append(seconds)
        if len(self._took_s) < SAMPLES:
            return
        typical_s = median(self._took_s)
        self._took_s.clear()
        usual_s = typical_s if self._usual_s is None else self._usual_s
        if not burst or self._room < QUIET_ROOM:
            usual_s += (typical_s - usual_s) / 4
        self._usual_s = min(usual_s, typical_s) if burst else usual_s
        if not burst:
            # The next burst begins as the first one did.
            self._room = max(self._room, min(self._first, self._room * FAST_GROWTH))
            return
        slowness = (typical_s / usual_s - 1) / (self._slow_ratio - 1)
        if slowness > 1:
            self._room = max(ROOM_MIN, self._room * SHRINKAGE)
        else:
            self._room = min(self._room_max, self._room * (FAST_GROWTH if slowness < 1 / 2 else GROWTH))


class Turns:
    """What one process knows of the tenants' turns. Times are monotonic seconds.

    `spiking`: the turns of each lane that batches take because of their backlog. `last`: the last turn that
    was claimed in each lane, after which the next claim begins. `start_room`: that of the workflows that the
    process starts; `batch_rooms`: those of each lane's batches.
    """

    def __init__(self, starts_max: int = 50, batch_max: int = 100, slow_ratio: float = 2.0) -> None:
        """`starts_max` and `batch_max`: the largest rooms. `slow_ratio`: see Room."""
        self.start_room = Room(starts_max, slow_ratio, START_ROOM)
        self.spiking: dict[Lane, set[int]] = {lane: set() for lane in Lane}
        self.last: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self.batch_rooms = {lane: Room(batch_max, slow_ratio, BATCH_ROOM) for lane in Lane}
        self._claimed_at: dict[Lane, dict[int, float]] = {lane: {} for lane in Lane}
        self._late_s: dict[Lane, dict[int, float]] = {lane: {} for lane in Lane}

    def claimed(self, lane: Lane, turn: int, now: float, late_s: float = 0.0) -> None:
        """A notification of the turn was claimed, `late_s` after its due time."""
        self._claimed_at[lane][turn] = now
        self._late_s[lane][turn] = late_s
        self.last[lane] = turn

    def bursting(self, lane: Lane) -> set[int]:
        """The turns with a backlog among the largest: they wait at least half as long as the one that waits
        longest.
        """
        late_s = self._late_s[lane]
        least_s = max(BACKLOG_S, max(late_s.values(), default=0.0) / 2)
        return {turn for turn, late in late_s.items() if late >= least_s}

    def nothing_due(self, lane: Lane) -> None:
        """A claim found nothing. The next one begins elsewhere: each examines a limited number of turns."""
        self.last[lane] = (self.last[lane] + _STEP + 2**31) % 2**32 - 2**31

    def is_any_contended(self, now: float) -> bool:
        """Whether more than one turn was active recently in any lane."""
        return any(self.is_contended(lane, now) for lane in Lane)

    def is_contended(self, lane: Lane, now: float) -> bool:
        """Whether more than one turn was active recently."""
        return len(self._claimed_at[lane]) > 1 and len(self.active(lane, now)) > 1

    def active(self, lane: Lane, now: float) -> Set[int]:
        """The turns that were active recently."""
        claimed_at = self._claimed_at[lane]
        for turn in [turn for turn, at in claimed_at.items() if at <= now - CONTENDED_S]:
            del claimed_at[turn], self._late_s[lane][turn]
        return claimed_at.keys()
