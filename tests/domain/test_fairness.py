"""When tenants contend for a lane."""

from itertools import pairwise

from domain.fairness import CONTENDED_S, Turns, turn_of
from domain.notification import Lane


def test_a_tenant_alone_does_not_contend() -> None:
    turns = Turns()
    for at in range(5):
        turns.claimed(Lane.HIGH, turn_of("acme"), at)
    assert not turns.is_contended(Lane.HIGH, 5)


def test_two_tenants_contend_until_one_was_silent_for_long() -> None:
    turns = Turns()
    turns.claimed(Lane.HIGH, turn_of("acme"), 0)
    turns.claimed(Lane.HIGH, turn_of("bank"), 1)
    assert turns.is_contended(Lane.HIGH, 2)
    turns.claimed(Lane.HIGH, turn_of("bank"), CONTENDED_S)
    assert not turns.is_contended(Lane.HIGH, CONTENDED_S)
    turns.claimed(Lane.HIGH, turn_of("acme"), CONTENDED_S + 1)
    assert turns.is_contended(Lane.HIGH, CONTENDED_S + 2)


def test_tenants_contend_within_a_lane() -> None:
    turns = Turns()
    turns.claimed(Lane.HIGH, turn_of("acme"), 0)
    turns.claimed(Lane.BULK, turn_of("bank"), 0)
    assert not any(turns.is_contended(lane, 1) for lane in Lane)


def test_claims_that_find_nothing_begin_all_over_the_turns() -> None:
    turns, begun = Turns(), list[int]()
    for _ in range(64):
        turns.nothing_due(Lane.HIGH)
        begun.append(turns.last[Lane.HIGH])
    assert all(-(2**31) <= turn < 2**31 for turn in begun)
    gaps = [after - before for before, after in pairwise(sorted(begun))]
    assert max(gaps) < 2**32 / 16


def test_turns_fit_an_integer_of_the_database() -> None:
    turns = [turn_of(f"tenant-{number}") for number in range(10_000)]
    assert all(-(2**31) <= turn < 2**31 for turn in turns)
    assert min(turns) < 0 < max(turns)
    assert len(set(turns)) > 9_990
