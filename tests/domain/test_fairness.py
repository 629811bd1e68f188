"""When tenants contend for a lane, and how much room a burst has then."""

from itertools import pairwise

import pytest

from domain.fairness import (
    ALONE_S,
    BACKLOG_S,
    CONTENDED_S,
    ROOM_MIN,
    SAMPLES,
    UNDER_WAY,
    YIELD_S,
    Room,
    Turns,
    turn_of,
)
from domain.notification import Lane

FIRST = 4.0


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


@pytest.mark.parametrize(
    ("late_s", "bursting"),
    [
        ({"burst": 60.0, "quiet": 0.01}, {"burst"}),
        ({"burst": 60.0, "other": 31.0, "quiet": 29.0}, {"burst", "other"}),
        ({"burst": BACKLOG_S, "quiet": 0.1}, {"burst"}),
        ({"busy": BACKLOG_S / 2, "quiet": 0.0}, set[str]()),
    ],
)
def test_who_waits_longest_has_a_burst(late_s: dict[str, float], bursting: set[str]) -> None:
    turns = Turns()
    for tenant, late in late_s.items():
        turns.claimed(Lane.HIGH, turn_of(tenant), 0, late)
    assert turns.bursting(Lane.HIGH) == {turn_of(tenant) for tenant in bursting}
    assert turns.bursting(Lane.NORMAL) == set()


def test_a_burst_that_is_over_is_forgotten() -> None:
    turns = Turns()
    turns.claimed(Lane.HIGH, turn_of("burst"), 0, 60)
    turns.claimed(Lane.HIGH, turn_of("burst"), 1, 0)
    assert turns.bursting(Lane.HIGH) == set()
    turns.claimed(Lane.HIGH, turn_of("burst"), 2, 60)
    assert not turns.active(Lane.HIGH, 2 + CONTENDED_S)
    assert turns.bursting(Lane.HIGH) == set()


def _requests(room: Room, seconds: float, samples: int = 1, *, burst: bool = True) -> None:
    for _ in range(samples * SAMPLES):
        room.took(seconds, 0.0, burst=burst)


def test_a_burst_of_starts_begins_one_at_a_time() -> None:
    turns = Turns()
    assert turns.start_room.rest_s > 0
    assert turns.batch_rooms[Lane.BULK].rest_s == 0


def _known(usual_s: float, room_max: float = 50, slow_ratio: float = 1.5) -> Room:
    """A room that knows what is usual from before the burst."""
    room = Room(room_max, slow_ratio, FIRST)
    _requests(room, usual_s, 5, burst=False)
    return room


def _left(room: Room, under_way: int, now: float, others: int = 0) -> int:
    return room.rooms([1], {}, {1: under_way, 2: others}, now)[1]


def test_a_room_grows_to_its_limit_while_requests_take_as_long_as_usual() -> None:
    room, places = _known(0.01), list[int]()
    assert room.places == FIRST
    for _ in range(40):
        _requests(room, 0.01)
        places.append(room.places)
    assert places == sorted(places)
    assert places[-1] == 50
    assert room.rest_s == 0


@pytest.mark.parametrize("usual_s", [0.001, 0.01, 1.0])
def test_a_room_shrinks_at_once_while_requests_are_slow_and_recovers(usual_s: float) -> None:
    room = _known(usual_s)
    _requests(room, usual_s * 1.6, 4)
    assert room.places == 1
    _requests(room, usual_s, 60)
    assert room.places == 50


def test_a_burst_without_a_time_before_it_is_held_to_its_own_beginning() -> None:
    room = Room(50, 1.5, FIRST)
    _requests(room, 0.01, 3)
    _requests(room, 0.02, 4)
    assert room.places == 1


def test_one_slow_request_is_not_slowness() -> None:
    room = _known(0.01)
    for _ in range(40):
        for number in range(SAMPLES):
            room.took(5 if number % 3 == 0 else 0.01, 0.0, burst=True)
    assert room.places == 50


def test_what_stays_slow_without_the_burst_becomes_usual() -> None:
    room = _known(0.01)
    _requests(room, 0.1, 100)
    assert room.places == 50


def test_the_next_burst_begins_as_the_first_one_did() -> None:
    room = _known(0.01)
    _requests(room, 0.05, 3)
    assert room.places < FIRST
    _requests(room, 0.01, 30, burst=False)
    assert room.places == FIRST
    grown = _known(0.01)
    _requests(grown, 0.01, 40)
    _requests(grown, 0.01, 3, burst=False)
    assert grown.places == 50, "it is not taken away again"


def test_a_room_is_divided_by_weight_and_may_wait_until_half_of_it_is_free() -> None:
    room = _known(0.01)
    _requests(room, 0.01, 40)
    assert room.rooms([1, 2], {}, {1: 2, 3: 9}, 0.0) == {1: 24, 2: 24}
    assert room.rooms([1, 2], {1: 3}, {1: 2}, 0.0) == {1: 36, 2: 12}
    assert room.rooms([1, 2, 3], {2: 2}, {1: 49}, 0.0) == {1: 1, 2: 2, 3: 1}
    assert room.rooms([1, 2], {}, {1: 49, 2: 1}, 0.0) == {1: 0, 2: 0}
    assert room.rooms([1], {}, {1: 25}, 0.0, at_once=True) == {1: 0}
    assert room.rooms([1], {}, {1: 24}, 0.0, at_once=True) == {1: 26}
    assert room.rooms([], {}, {1: 4}, 0.0) == {}
    assert room.largest == 50


def test_a_small_room_is_one_at_a_time_with_rests() -> None:
    room = _known(0.01)
    _requests(room, 0.016, 6)
    assert (room.places, room.largest) == (1, UNDER_WAY)
    assert room.rest_s > 0
    assert _left(room, 0, 100.0) == 0
    assert _left(room, 0, 100.0 + room.rest_s / 2) == 0
    assert room.resting_s(100.0 + room.rest_s / 2) == pytest.approx(room.rest_s / 2)
    assert _left(room, 0, 100.0 + room.rest_s) == 1
    assert _left(room, 1, 101.0) == 0
    assert _left(room, 0, 102.0) == 0, "it rests after each"


def test_a_small_room_waits_a_moment_for_others() -> None:
    room = _known(0.01)
    _requests(room, 0.016, 6)
    assert _left(room, 0, 100.0, others=3) == 0
    rested = 100.0 + room.rest_s
    assert _left(room, 0, rested, others=3) == 0
    assert room.resting_s(rested) == pytest.approx(YIELD_S)
    assert _left(room, 0, rested, others=0) == 1, "none is under way any more"
    assert _left(room, 0, rested + YIELD_S, others=3) == 1, "nobody waits for ever"
    assert _left(_known(0.01), 0, 100.0, others=3) == FIRST, "a larger room is shared"


def test_a_bursts_own_requests_do_not_speak_for_others() -> None:
    room = _known(0.01)
    _requests(room, 0.016, 6)
    rest_s, now = room.rest_s, 0.0
    for _ in range(SAMPLES - 1):
        room.took(0.016, now, burst=True)
        for _ in range(SAMPLES):
            room.took(0.01, now + ALONE_S / 2, burst=True, own=True)
        now += ALONE_S
    assert room.rest_s == rest_s
    for _ in range(20 * SAMPLES):
        room.took(0.01, now, burst=True, own=True)
    assert room.places > 1, "no others are left that could be slow"


def test_a_room_never_closes() -> None:
    room = _known(0.01, slow_ratio=1.1)
    for number in range(200):
        _requests(room, 0.01 * 1.2**number)
    assert 0 < room.rest_s <= 1 / ROOM_MIN
    assert _left(room, 0, 0.0) == 0
    assert _left(room, 0, room.rest_s) == 1
