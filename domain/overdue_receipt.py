"""An overdue receipt: when to ask the provider for it, and what follows if it stays missing."""

from dataclasses import dataclass
from datetime import timedelta

from domain.notification import Attempt
from domain.notification_types import OnUnknown
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.snapshot import DeliverySnapshot, Snapshot
from domain.status import Status
from domain.transition import Transition

POLL_AGAIN_S = 60.0
"""How long a type that reconciles waits before it asks again, in seconds."""


@dataclass(frozen=True, slots=True)
class ReceiptMissing:
    """The receipt is overdue, and the provider could not report the outcome of the message."""


def overdue(snapshot: Snapshot, head_start_s: float = 0.0) -> Attempt | None:
    """The accepted attempt whose receipt is overdue, or will be in `head_start_s` seconds; else None."""
    delivery = snapshot.delivery
    if delivery.status is not Status.SENT or delivery.due_at is None:
        return None
    if delivery.due_at > snapshot.now + timedelta(seconds=head_start_s):
        return None
    return next((a for a in reversed(delivery.attempts) if a.outcome is Outcome.ACCEPTED), None)


def after_missing_receipt(snapshot: DeliverySnapshot) -> Transition:
    """The transition if it cannot be found out whether a sent message arrived."""
    now, on_unknown, event = snapshot.now, snapshot.context.type.on_unknown, "no_receipt"
    if snapshot.has_channel_behind:
        return Transition(Status.UNDELIVERED, None, Reason.NO_RECEIPT, event=event)
    can_be_sent = not snapshot.is_expired and bool(snapshot.notification.content.body)
    if can_be_sent and on_unknown is OnUnknown.FAILOVER:
        due_at = snapshot.context.lease_after(now)
        return Transition(Status.DEFERRED, due_at, Reason.NO_RECEIPT, next_pass_at=now, event=event)
    again = now + timedelta(seconds=POLL_AGAIN_S)
    if on_unknown is OnUnknown.RECONCILE and again < snapshot.delivery.expires_at:
        # The polling activity asks again at that time; without it, the dispatcher does so a lease later.
        return Transition(Status.SENT, snapshot.context.lease_after(again))
    return Transition(Status.SENT, None, Reason.NO_RECEIPT, event=event)
