"""The action that a decision requires of the workflow."""

from datetime import timedelta

import pytest
from decision_case import NOW, attempt, context, delivery, notification, route, snapshot

from domain.call_decision import CallEnded
from domain.contracts import Action
from domain.decision import decide
from domain.notification import Strategy
from domain.notification_types import OnUnknown
from domain.outcome import Outcome, SendResult
from domain.overdue_receipt import POLL_AGAIN_S, ReceiptMissing
from domain.reasons import Reason
from domain.required_action import continues_pass, required_action
from domain.status import FINAL, PARKED, REACHED, SENDABLE, Status
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
    ("await_receipt", "strategy", "keeps_workflow"),
    [
        (False, Strategy.ALL, False),
        (True, Strategy.ALL, True),
        (False, Strategy.FIRST, True),
    ],
)
def test_an_awaited_receipt_keeps_the_workflow_open(
    await_receipt: bool, strategy: Strategy, keeps_workflow: bool
) -> None:
    promised = context(await_receipt=await_receipt, receipt_deadline_s=60)
    sent = Transition(Status.SENT, LATER)
    seen = snapshot(delivery(), promised, of=notification(delivery(), strategy=strategy))
    result = required_action(seen, sent)
    assert (result.action, result.keeps_workflow, result.wait_s) == (Action.AWAIT_RECEIPT, keeps_workflow, 60)


@pytest.mark.parametrize("status", sorted(SENDABLE))
def test_a_delivery_that_may_be_sent_now_needs_a_send(status: Status) -> None:
    after = Transition(status, LATER, Reason.NO_RECEIPT, next_pass_at=NOW)
    result = required_action(snapshot(delivery()), after)
    assert (result.action, result.status, result.reason) == (Action.SEND, status, Reason.NO_RECEIPT)


@pytest.mark.parametrize(
    ("outcome", "order", "continues"),
    [
        (Outcome.ACCEPTED, ("one", "two"), False),
        (Outcome.UNAVAILABLE, ("one", "two"), True),
        (Outcome.UNAVAILABLE, ("one",), False),
        (Outcome.AMBIGUOUS, ("one",), True),
        (Outcome.REJECTED_RECIPIENT, ("one", "two"), False),
    ],
)
def test_a_pass_continues_with_the_next_candidate_or_an_ambiguous_call(
    outcome: Outcome, order: tuple[str, ...], continues: bool
) -> None:
    seen = snapshot(delivery(), providers=route(order))
    after = decide(seen, CallEnded(attempt(1, "one", None), SendResult(outcome)))
    assert continues_pass(seen, after) is continues


def test_a_type_that_reconciles_polls_again_before_its_lease_ends() -> None:
    sent = delivery(status=Status.SENT, due_at=NOW, attempts=(attempt(1, "one", Outcome.ACCEPTED),))
    seen = snapshot(sent, context(on_unknown=OnUnknown.RECONCILE))
    result = required_action(seen, decide(seen, ReceiptMissing()))
    assert (result.action, result.wait_s, result.keeps_workflow) == (Action.POLL, POLL_AGAIN_S, True)


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
