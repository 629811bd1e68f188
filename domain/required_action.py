"""What a decision requires of the pass and the workflow that carry the delivery."""

from datetime import datetime

from domain.batching import needs_workflow
from domain.contracts import Action, PassResult
from domain.notification import Strategy
from domain.reasons import Reason
from domain.snapshot import DeliverySnapshot
from domain.status import FINAL, PARKED, REACHED, SENDABLE, Status
from domain.transition import Call, Decision, Resolve, Transition, Wait


def required_action(snapshot: DeliverySnapshot, decision: Decision, detail: str = "") -> PassResult:
    """The action, and how long to wait before it. `detail` says why in one line: codes and provider
    names only.
    """
    delivery = snapshot.delivery
    match decision:
        case Call():
            return PassResult(Action.SEND, delivery.status, delivery.reason_code, detail=detail)
        case Resolve(attempt) if attempt.outcome is None:
            return PassResult(Action.RETRY, delivery.status, delivery.reason_code, detail=detail)
        case Resolve():
            return _settled(snapshot, delivery.status, delivery.reason_code, delivery.due_at, detail)
        case Wait(until, waits_for) if delivery.open_attempt is not None:
            wait_s = _seconds(snapshot.now, until)
            return PassResult(Action.RETRY, delivery.status, wait_s=wait_s, detail=detail or waits_for)
        case Wait(until, waits_for) if delivery.status in SENDABLE:
            # A delivery that waits for a retry keeps its pending activity; any other waits in the ledger.
            action = Action.RETRY if delivery.reason_code == Reason.RETRY else Action.NOTHING
            wait_s = _seconds(snapshot.now, until)
            return PassResult(
                action, delivery.status, delivery.reason_code, wait_s, detail=detail or waits_for
            )
        case Wait():
            return _settled(snapshot, delivery.status, delivery.reason_code, delivery.due_at, detail)
        case Transition() if decision.reason_code == Reason.RETRY and decision.next_pass_at is not None:
            wait_s = (decision.next_pass_at - snapshot.now).total_seconds()
            return PassResult(Action.RETRY, decision.status, decision.reason_code, wait_s, detail=detail)
        case Transition() if _is_due(snapshot, decision):
            return PassResult(Action.SEND, decision.status, decision.reason_code, detail=detail)
        case Transition(Status.SENT, datetime() as due_at) if delivery.status is Status.SENT:
            # The provider is asked again a lease before the dispatcher would claim it.
            wait_s = _seconds(snapshot.context.lease_after(snapshot.now), due_at)
            return PassResult(Action.POLL, decision.status, wait_s=wait_s, detail=detail)
        case Transition():
            return _settled(snapshot, decision.status, decision.reason_code, decision.due_at, detail)


def continues_pass(snapshot: DeliverySnapshot, after: Transition) -> bool:
    """Whether the pass goes on after this transition: to resolve an ambiguous call, or with the next one."""
    return after.status is Status.SENDING or required_action(snapshot, after).action is Action.SEND


def _is_due(snapshot: DeliverySnapshot, after: Transition) -> bool:
    return after.status in SENDABLE and after.next_pass_at is not None and after.next_pass_at <= snapshot.now


def _settled(
    snapshot: DeliverySnapshot, status: Status, reason: str | None, due_at: datetime | None, detail: str
) -> PassResult:
    first = snapshot.notification.strategy is Strategy.FIRST
    wait_s, keeps_workflow = _seconds(snapshot.now, due_at), False
    if status in PARKED:
        action, keeps_workflow = Action.PARKED, True
    elif status is Status.SENT and due_at is not None:
        action = Action.AWAIT_RECEIPT if wait_s else Action.POLL
        keeps_workflow = needs_workflow(snapshot.context.type, snapshot.notification.strategy)
    else:
        action = Action.NOTHING
    missed = status in FINAL and status not in REACHED
    return PassResult(
        action,
        status,
        reason,
        wait_s,
        replan=first and missed,
        keeps_workflow=keeps_workflow,
        detail=detail,
    )


def _seconds(now: datetime, until: datetime | None) -> float:
    return max(0.0, (until - now).total_seconds()) if until else 0.0
