"""What follows if a delivery has no place under its user's limits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.reasons import Reason
from domain.snapshot import Snapshot
from domain.status import Status
from domain.transition import Transition, defer

AGAIN_S_MIN = 1.0
"""The shortest wait before a place is requested again, in seconds."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """There is no place. `free_at`: when there may be one. `limits`: the reached limits, in words.

    `store_lost`: the counts cannot be read, so it is not known. `drops`: one of the limits drops deliveries
    above it.
    """

    free_at: datetime
    limits: tuple[str, ...] = ()
    store_lost: bool = False
    drops: bool = False


def without_place(snapshot: Snapshot, reached: LimitReached) -> Transition:
    """Drop it if any limit drops, else defer it until a place is free.

    While the counts cannot be read it is deferred in any case: it may be below its limit.
    """
    again = max(reached.free_at, snapshot.now + timedelta(seconds=AGAIN_S_MIN))
    if reached.store_lost:
        return defer(snapshot.delivery, again, Reason.LIMIT_STORE_LOST)
    if reached.drops:
        data = {"limits": list(reached.limits)}
        return Transition(Status.RATE_LIMITED, None, Reason.RATE_LIMITED, event="rate_limited", data=data)
    return defer(snapshot.delivery, again, Reason.RATE_LIMITED)
