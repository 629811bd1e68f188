"""What may go by pages, and at which pace a page takes more."""

import pytest

from domain.notification import Strategy
from domain.notification_types import NotificationType
from domain.paging import (
    PORTION_MAX,
    PORTION_MIN,
    PORTION_S,
    SHUT_PAUSE_S,
    SHUT_PAUSE_S_MAX,
    Pace,
    needs_workflow,
)

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
def test_what_waits_for_a_receipt_to_go_on_needs_a_workflow(
    type: NotificationType, strategy: Strategy, needs: bool
) -> None:
    assert needs_workflow(type, strategy) is needs


def test_portions_grow_while_all_goes_through_and_are_bounded() -> None:
    pace, sizes = Pace(), list[int]()
    for _ in range(6):
        pace = pace.after(100, 0, took_s=0.1)
        sizes.append(pace.portion)
    assert sizes == [100, 200, 400, PORTION_MAX, PORTION_MAX, PORTION_MAX]
    assert pace.rest_s == 0


def test_a_portion_that_took_long_to_begin_is_halved() -> None:
    pace = Pace(400)
    for size in (200, 100, PORTION_MIN, PORTION_MIN):
        pace = pace.after(10, 0, took_s=PORTION_S + 1)
        assert pace.portion == size


def test_shut_doors_only_have_it_rest_longer_each_time_and_a_success_ends_that() -> None:
    pace, rests = Pace(200), list[float]()
    for _ in range(4):
        pace = pace.after(0, 200, took_s=0.1)
        rests.append(pace.rest_s)
    assert rests == [SHUT_PAUSE_S, 2 * SHUT_PAUSE_S, SHUT_PAUSE_S_MAX, SHUT_PAUSE_S_MAX]
    assert pace.after(200, 0, took_s=0.1) == Pace(400)


def test_before_anything_came_back_the_pace_stays() -> None:
    assert Pace(100, 2.0).after(0, 0, took_s=0.1) == Pace(100, 2.0)


def test_mostly_shut_doors_have_it_rest_in_proportion() -> None:
    assert Pace(200).after(25, 75, took_s=0.1).rest_s == pytest.approx(0.75 * SHUT_PAUSE_S)
    assert Pace(200).after(60, 40, took_s=0.1).rest_s == 0
