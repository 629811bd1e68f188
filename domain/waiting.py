"""A delivery that waits in the ledger for a time."""

from datetime import datetime

from domain.notification import Delivery
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition


def defer(delivery: Delivery, until: datetime, reason: Reason | None) -> Transition:
    """It waits until then, or until it expires."""
    at = min(until, delivery.expires_at)
    return Transition(
        Status.DEFERRED,
        at,
        reason,
        next_pass_at=at,
        release=True,
        event="deferred",
        data={"until": at.isoformat()},
    )
