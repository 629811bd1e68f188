"""Which notifications may be batched, and the pace of a batch."""

from typing import Literal

import pytest

from domain.batching import (
    PORTION_MAX,
    PORTION_MIN,
    PORTION_S,
    UNAVAILABLE_PAUSE_S,
    UNAVAILABLE_PAUSE_S_MAX,
    Pace,
    may_be_batched,
    needs_workflow,
)
from domain.notification import Lane, Strategy
from domain.notification_types import DispatchPolicy, NotificationType

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


def test_a_removed_type_waits_for_no_receipt() -> None:
    assert not needs_workflow(None, Strategy.ALL)
    assert needs_workflow(None, Strategy.FIRST)


@pytest.mark.parametrize(
    ("batching", "lanes"),
    [
        ("never", set[Lane]()),
        ("bulk", {Lane.BULK}),
        ("spike", {Lane.HIGH, Lane.NORMAL, Lane.BULK}),
    ],
)
def test_the_critical_lane_is_never_batched(
    batching: Literal["never", "bulk", "spike"], lanes: set[Lane]
) -> None:
    policy = DispatchPolicy(batching=batching)
    assert {lane for lane in Lane if may_be_batched(lane, policy)} == lanes


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
    assert rests == [
        UNAVAILABLE_PAUSE_S,
        2 * UNAVAILABLE_PAUSE_S,
        UNAVAILABLE_PAUSE_S_MAX,
        UNAVAILABLE_PAUSE_S_MAX,
    ]
    assert pace.after(200, 0, took_s=0.1) == Pace(400)


def test_without_results_the_pace_is_unchanged() -> None:
    assert Pace(100, 2.0).after(0, 0, took_s=0.1) == Pace(100, 2.0)


def test_a_mostly_blocked_portion_rests_in_proportion() -> None:
    assert Pace(200).after(25, 75, took_s=0.1).rest_s == pytest.approx(0.75 * UNAVAILABLE_PAUSE_S)
    assert Pace(200).after(60, 40, took_s=0.1).rest_s == 0
