"""The one decision: what a delivery needs next.

Plans, passes, polls and operators' commands all call `decide`. It is pure: the snapshot and the
event are all that it looks at.
"""

from typing import TypeAlias, overload

from domain.call_decision import CallEnded, after_call
from domain.candidate_decision import next_candidate
from domain.limit_decision import LimitReached, after_limit
from domain.operator_decisions import Cancel, Command, Discard, Replay, Retry, after_command
from domain.overdue_receipt import ReceiptMissing, after_missing_receipt, overdue
from domain.preferences import Permission
from domain.reasons import Reason
from domain.resolution_decision import Resolved, after_resolution
from domain.snapshot import DeliverySnapshot, Snapshot
from domain.status import PARKED, SENDABLE, Status
from domain.transition import Call, Decision, Resolve, Transition, Wait, defer

Event: TypeAlias = CallEnded | Resolved | LimitReached | ReceiptMissing
"""What can have happened to a delivery."""


@overload
def decide(snapshot: DeliverySnapshot, event: None = None) -> Decision: ...
@overload
def decide(snapshot: DeliverySnapshot, event: CallEnded | LimitReached | ReceiptMissing) -> Transition: ...
@overload
def decide(snapshot: DeliverySnapshot, event: Resolved) -> Transition | Wait: ...
@overload
def decide(snapshot: Snapshot, event: Command) -> Transition | Wait: ...
def decide(snapshot: Snapshot, event: Event | Command | None = None) -> Decision:
    """What the delivery needs next: after `event`, or at this time.

    A command needs no route and no type; everything else needs a DeliverySnapshot.
    """
    if isinstance(event, Cancel | Retry | Discard | Replay):
        return after_command(snapshot, event)
    if not isinstance(snapshot, DeliverySnapshot):
        raise TypeError(f"a decision about {event!r} needs a DeliverySnapshot")
    match event:
        case None:
            return _by_time(snapshot)
        case CallEnded():
            return after_call(snapshot, event)
        case Resolved():
            return after_resolution(snapshot, event)
        case LimitReached():
            return after_limit(snapshot, event)
        case ReceiptMissing():
            return after_missing_receipt(snapshot)


def _by_time(snapshot: DeliverySnapshot) -> Decision:
    delivery = snapshot.delivery
    if delivery.open_attempt is not None:
        return _for_open_attempt(snapshot)
    if delivery.status in SENDABLE:
        return _sendable(snapshot)
    if delivery.status in PARKED and delivery.due_at is not None and delivery.due_at <= snapshot.now:
        return Transition(Status.FAILED, None, Reason.PARKED_TOO_LONG, event="failed")
    if (attempt := overdue(snapshot)) is not None:
        return Resolve(attempt, conclusive=True)
    return Wait(delivery.due_at)


def _for_open_attempt(snapshot: DeliverySnapshot) -> Wait | Resolve:
    """Until its deadline an attempt belongs to its sender. Only a recorded ambiguous answer (`code`) lets it
    be resolved earlier.
    """
    attempt = snapshot.delivery.open_attempt
    assert attempt is not None
    visible_at = snapshot.visible_at(attempt)
    conclusive = snapshot.now >= visible_at
    if not conclusive and attempt.code is None:
        return Wait(visible_at, f"{attempt.provider}: a call is under way")
    return Resolve(attempt, conclusive)


def _sendable(snapshot: DeliverySnapshot) -> Wait | Call | Transition:
    delivery = snapshot.delivery
    if snapshot.is_expired:
        return Transition(Status.EXPIRED, None, Reason.EXPIRED, event="expired")
    if snapshot.now < delivery.next_pass_at:
        at = f"{delivery.next_pass_at:%H:%M:%S}"
        return Wait(
            delivery.next_pass_at, f"pass {delivery.pass_number + 1} not before {at} ({delivery.reason_code})"
        )
    return _not_permitted(snapshot) or next_candidate(snapshot)


def _not_permitted(snapshot: DeliverySnapshot) -> Transition | None:
    """The transition if preferences, contacts or the clock forbid a send; None if it may be sent.

    After the first attempt quiet hours no longer apply, and the attempts decide about a missing address.
    """
    delivery, check = snapshot.delivery, snapshot.permission
    match check.permission:
        case Permission.SUPPRESSED:
            return Transition(Status.SUPPRESSED, None, check.reason, event="suppressed")
        case Permission.UNREACHABLE if not delivery.attempts or check.is_withdrawn:
            return Transition(Status.FAILED, None, check.reason, event="failed")
        case Permission.DEFERRED if not delivery.attempts and check.until is not None:
            return defer(delivery, check.until, check.reason)
        case _:
            return None
