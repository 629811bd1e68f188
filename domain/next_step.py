"""What a delivery needs next, told to its workflow. Pure."""

from domain.decisions import Next, Rules
from domain.notification import Delivery, Notification, Strategy
from domain.reasons import Reason
from domain.status import FINAL, PARKED, REACHED, Status
from domain.steps import Action, PassResult


def settled(notification: Notification, delivery: Delivery, rules: Rules) -> PassResult:
    """What a delivery needs that a pass has nothing to do for."""
    as_it_is = Next(delivery.state, delivery.due_at, delivery.reason_code)
    return outcome_of(notification, as_it_is, rules, delivery.state)


def outcome_of(notification: Notification, after: Next, rules: Rules, detail: str) -> PassResult:
    """What a delivery needs that has come to `after`."""
    first = notification.strategy is Strategy.FIRST
    wait_s = max(0.0, (after.due_at - notification.now).total_seconds()) if after.due_at else 0.0
    if after.reason_code == Reason.RETRY and after.next_pass_at is not None:
        wait_s = (after.next_pass_at - notification.now).total_seconds()
        action, hold = Action.RETRY, True
    elif after.state in PARKED:
        action, hold = Action.PARKED, True
    elif after.state is Status.SENT and after.due_at is not None:
        action = Action.AWAIT_RECEIPT if wait_s else Action.POLL
        hold = rules.type.await_receipt or first
    else:
        action, hold = Action.NOTHING, False
    missed = after.state in FINAL and after.state not in REACHED
    return PassResult(
        action, after.state, after.reason_code, wait_s, replan=first and missed, hold=hold, detail=detail
    )
