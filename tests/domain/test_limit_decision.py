"""The places of deliveries under their users' limits: who needs none, and when they become free."""

import pytest
from decision_case import NOW, attempt, delivery

from domain.limit_decision import is_sent_uncounted, releases_places
from domain.notification import Lane
from domain.outcome import Outcome
from domain.status import FINAL, REACHED, Status
from domain.transition import Closure, Transition

UNSENT = FINAL - REACHED


def test_only_critical_notifications_are_sent_while_the_counts_are_lost() -> None:
    assert [lane for lane in Lane if is_sent_uncounted(lane)] == [Lane.CRITICAL]


@pytest.mark.parametrize("status", list(Status))
def test_a_delivery_that_ends_unsent_releases_its_places(status: Status) -> None:
    tried = (attempt(1, "one", Outcome.UNAVAILABLE),)
    assert releases_places(delivery(status=status, attempts=tried)) is (status in UNSENT)
    after = Transition(status, NOW)
    assert releases_places(delivery(attempts=tried), after) is (status in UNSENT)


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.UNKNOWN])
def test_a_message_that_may_be_out_keeps_its_place(outcome: Outcome) -> None:
    ended = delivery(status=Status.FAILED, attempts=(attempt(1, "one", outcome),))
    assert not releases_places(ended)
    still_open = delivery(status=Status.SENDING, attempts=(attempt(1, "one", None),))
    after = Transition(Status.UNDELIVERED, None, closes=Closure(1, outcome, "policy"))
    assert not releases_places(still_open, after)
