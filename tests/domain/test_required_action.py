"""The action that a decision requires of the workflow."""

from datetime import timedelta

import pytest
from decision_case import NOW, context, delivery, notification, snapshot

from domain.contracts import Action
from domain.decision import decide
from domain.notification import Strategy
from domain.reasons import Reason
from domain.required_action import required_action
from domain.status import FINAL, PARKED, REACHED, Status
from domain.transition import Transition

LATER = NOW + timedelta(seconds=60)


def test_a_failed_pass_is_retried_at_next_pass_at() -> None:
    after = Transition(Status.DEFERRED, NOW + timedelta(seconds=90), Reason.RETRY, next_pass_at=LATER)
    result = required_action(snapshot(delivery()), after, "twilio: unavailable")
    assert (result.action, result.wait_s, result.detail) == (Action.RETRY, 60, "twilio: unavailable")


@pytest.mark.parametrize("reason", [Reason.PROVIDER_DOWN, Reason.QUIET_HOURS, Reason.RATE_LIMITED])
def test_a_deferred_delivery_needs_no_workflow(reason: Reason) -> None:
    after = Transition(Status.DEFERRED, LATER, reason, next_pass_at=LATER)
    assert required_action(snapshot(delivery()), after, "").action is Action.NOTHING


@pytest.mark.parametrize(
    ("await_receipt", "strategy", "hold"),
    [
        (False, Strategy.ALL, False),
        (True, Strategy.ALL, True),
        (False, Strategy.FIRST, True),
    ],
)
def test_an_awaited_receipt_keeps_the_workflow_open(
    await_receipt: bool, strategy: Strategy, hold: bool
) -> None:
    promised = context(await_receipt=await_receipt, receipt_deadline_s=60)
    sent = Transition(Status.SENT, LATER)
    seen = snapshot(delivery(), promised, of=notification(delivery(), strategy=strategy))
    result = required_action(seen, sent)
    assert (result.action, result.hold, result.wait_s) == (Action.AWAIT_RECEIPT, hold, 60)


def test_only_an_expected_receipt_is_polled() -> None:
    seen = snapshot(delivery())
    overdue = Transition(Status.SENT, NOW - timedelta(seconds=1))
    assert required_action(seen, overdue).action is Action.POLL
    assert required_action(seen, Transition(Status.SENT, None)).action is Action.NOTHING


@pytest.mark.parametrize("status", sorted(PARKED))
def test_a_parked_delivery_waits_for_an_operator(status: Status) -> None:
    case = delivery(status=status, due_at=LATER)
    result = required_action(snapshot(case), decide(snapshot(case)))
    assert (result.action, result.wait_s, result.status) == (Action.PARKED, 60, status)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_only_a_missed_channel_of_strategy_first_replans(status: Status) -> None:
    case = delivery(status=status, due_at=None)
    alone, first = snapshot(case), snapshot(case, of=notification(case, strategy=Strategy.FIRST))
    for seen in (alone, first):
        result = required_action(seen, decide(seen))
        assert result.action is Action.NOTHING
        assert result.replan == (seen is first and status not in REACHED)


def test_a_waiting_channel_needs_nothing() -> None:
    case = delivery(status=Status.WAITING, due_at=None, position=1)
    seen = snapshot(case, of=notification(case, strategy=Strategy.FIRST))
    assert required_action(seen, decide(seen)).action is Action.NOTHING
