"""What a delivery comes to that has no place under its user's limits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.reasons import Reason
from domain.snapshot import Snapshot
from domain.status import Status
from domain.transition import Transition, defer

AGAIN_S_MIN = 1.0
"""A place is never asked for again sooner than this, in seconds."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """There is no place. `free_at`: when there may be one. `limits`: those that denied it, in words.

    `store_lost`: the counts cannot be read, so that nobody knows. `drops`: one of the limits drops what is
    above it.
    """

    free_at: datetime
    limits: tuple[str, ...] = ()
    store_lost: bool = False
    drops: bool = False


def without_place(snapshot: Snapshot, reached: LimitReached) -> Transition:
    """Dropped if any limit drops, else deferred until a place is free.

    While the counts cannot be read it waits, whatever its type says: nobody knows that it is above its limit.
    """
    again = max(reached.free_at, snapshot.now + timedelta(seconds=AGAIN_S_MIN))
    if reached.store_lost:
        return defer(snapshot.delivery, again, Reason.LIMIT_STORE_LOST)
    if reached.drops:
        data = {"limits": list(reached.limits)}
        return Transition(Status.RATE_LIMITED, None, Reason.RATE_LIMITED, event="rate_limited", data=data)
    return defer(snapshot.delivery, again, Reason.RATE_LIMITED)
