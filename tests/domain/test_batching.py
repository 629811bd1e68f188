"""Which notifications may be batched, and the pace of a batch."""

import pytest

from domain.batching import (
    PORTION_MAX,
    PORTION_MIN,
    PORTION_S,
    SHUT_PAUSE_S,
    SHUT_PAUSE_S_MAX,
    Pace,
    needs_workflow,
)
from domain.notification import Strategy
from domain.notification_types import NotificationType

PLAIN = NotificationType()
AWAITING = NotificationType(await_receipt=True, receipt_deadline_s=60)


@pytest.mark.parametrize(
    ("type", "strategy", "needs"),
    [
        (PLAIN, Strategy.ALL, False),
        (PLAIN, Strategy.FIRST, True),
        (AWAITING, Strategy.ALL, True),
    ],
)
def test_awaiting_a_receipt_needs_a_workflow(type: NotificationType, strategy: Strategy, needs: bool) -> None:
    assert needs_workflow(type, strategy) is needs


def test_portions_grow_up_to_a_maximum() -> None:
    pace, sizes = Pace(), list[int]()
    for _ in range(6):
        pace = pace.after(100, 0, took_s=0.1)
        sizes.append(pace.portion)
    assert sizes == [100, 200, 400, PORTION_MAX, PORTION_MAX, PORTION_MAX]
    assert pace.rest_s == 0


def test_a_slow_portion_is_halved() -> None:
    pace = Pace(400)
    for size in (200, 100, PORTION_MIN, PORTION_MIN):
        pace = pace.after(10, 0, took_s=PORTION_S + 1)
        assert pace.portion == size


def test_a_blocked_portion_doubles_the_rest() -> None:
    pace, rests = Pace(200), list[float]()
    for _ in range(4):
        pace = pace.after(0, 200, took_s=0.1)
        rests.append(pace.rest_s)
    assert rests == [SHUT_PAUSE_S, 2 * SHUT_PAUSE_S, SHUT_PAUSE_S_MAX, SHUT_PAUSE_S_MAX]
    assert pace.after(200, 0, took_s=0.1) == Pace(400)


def test_without_results_the_pace_is_unchanged() -> None:
    assert Pace(100, 2.0).after(0, 0, took_s=0.1) == Pace(100, 2.0)


def test_a_mostly_blocked_portion_rests_in_proportion() -> None:
    assert Pace(200).after(25, 75, took_s=0.1).rest_s == pytest.approx(0.75 * SHUT_PAUSE_S)
    assert Pace(200).after(60, 40, took_s=0.1).rest_s == 0
