"""What happens to a delivery without a place under its limits, and when places are released."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.notification import Delivery, Lane
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.snapshot import Snapshot
from domain.status import FINAL, REACHED, Status
from domain.transition import Transition, defer

AGAIN_S_MIN = 1.0
"""The shortest wait before a place is requested again, in seconds."""
_ENDED_UNSENT = FINAL - REACHED
_MAYBE_SENT = frozenset({Outcome.ACCEPTED, Outcome.UNKNOWN})


@dataclass(frozen=True, slots=True)
class LimitReached:
    """There is no place. `free_at`: when there may be one. `limits`: the reached limits, in words.

    `store_lost`: the counts cannot be read, so it is not known. `drops`: one of the limits drops deliveries
    above it. `reason`: which kind of limit.
    """

    free_at: datetime
    limits: tuple[str, ...] = ()
    store_lost: bool = False
    drops: bool = False
    reason: Reason = Reason.RATE_LIMITED


def after_limit(snapshot: Snapshot, reached: LimitReached) -> Transition:
    """Drop it if any limit drops, else defer it until a place is free.

    While the counts cannot be read it is deferred in any case: it may be below its limit.
    """
    again = max(reached.free_at, snapshot.now + timedelta(seconds=AGAIN_S_MIN))
    if reached.store_lost:
        return defer(snapshot.delivery, again, Reason.LIMIT_STORE_LOST)
    data = {"limits": list(reached.limits)}
    if reached.drops:
        return Transition(Status.RATE_LIMITED, None, reached.reason, event="rate_limited", data=data)
    deferred = defer(snapshot.delivery, again, reached.reason)
    return replace(deferred, data={**deferred.data, **data})


def is_sent_uncounted(lane: Lane) -> bool:
    """Whether a notification of the lane is sent while the counts are lost; others wait."""
    return lane is Lane.CRITICAL


def releases_places(delivery: Delivery, after: Transition | None = None) -> bool:
    """Whether the delivery's places become free: it ended, and no provider can have sent it.

    `after`: the transition that was applied to the delivery since it was read.
    """
    status = after.status if after else delivery.status
    outcomes = {attempt.outcome for attempt in delivery.attempts}
    if after and after.closes:
        outcomes.add(after.closes.outcome)
    return status in _ENDED_UNSENT and not outcomes & _MAYBE_SENT


def charge_name(delivery: Delivery) -> str:
    """The name of what the delivery's next send costs.

    It changes once a send may have left: that one stays charged for. A send that is made again because
    nothing was sent has the same name.
    """
    return f"{delivery.id}:{sum(attempt.outcome in _MAYBE_SENT for attempt in delivery.attempts)}"


def refunds_charge(delivery: Delivery, after: Transition | None = None) -> bool:
    """Whether what was reserved for the delivery's next send is taken back: there will be none, or none
    before an operator acts.

    `after`: the transition that was applied to the delivery since it was read.
    """
    if after and after.closes and after.closes.outcome in _MAYBE_SENT:
        return False
    status = after.status if after else delivery.status
    return status in _ENDED_UNSENT or status is Status.DEAD_LETTERED
