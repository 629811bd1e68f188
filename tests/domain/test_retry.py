"""Retry times: never early, late by at most the jitter, never after the expiry, one per schedule entry."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.retry import next_pass_at

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
FAR = NOW + timedelta(days=3650)
SCHEDULE = (30.0, 120.0, 600.0)

waits = st.integers(1, 86_400).map(float)
schedules = st.lists(waits, min_size=1, max_size=8).map(tuple)
shares = st.floats(0, 0.5)
jitters = st.floats(0, 1)
retry_afters = st.none() | st.floats(0, 1e9)
# Dates hold microseconds.
FAR_DAYS = timedelta(days=400)
ROUNDING = timedelta(microseconds=1)


def test_retries_follow_the_schedule() -> None:
    waits = [next_pass_at(NOW, SCHEDULE, n, 0.1, 0, None, FAR) for n in (1, 2, 3, 4)]
    assert waits == [NOW + timedelta(seconds=s) for s in SCHEDULE] + [None]


@given(schedules, st.data(), shares, jitters)
def test_a_retry_is_never_early_and_late_by_at_most_the_jitter(
    schedule: tuple[float, ...], data: st.DataObject, share: float, jitter: float
) -> None:
    failed = data.draw(st.integers(1, len(schedule)))
    at = next_pass_at(NOW, schedule, failed, share, jitter, None, FAR)
    assert at is not None
    planned = timedelta(seconds=schedule[failed - 1])
    assert planned <= at - NOW <= planned * (1 + share) + ROUNDING


@given(schedules, st.data(), shares, jitters, st.floats(0, 1e6))
def test_retry_after_only_lengthens_the_wait(
    schedule: tuple[float, ...], data: st.DataObject, share: float, jitter: float, retry_after: float
) -> None:
    failed = data.draw(st.integers(1, len(schedule)))
    alone = next_pass_at(NOW, schedule, failed, share, jitter, None, FAR)
    at = next_pass_at(NOW, schedule, failed, share, jitter, retry_after, FAR)
    assert alone is not None
    assert at is not None
    assert at >= alone
    assert at - NOW >= timedelta(seconds=retry_after) - ROUNDING


@given(schedules, st.data(), shares, jitters, jitters, retry_afters, st.timedeltas(timedelta(0), FAR - NOW))
def test_more_jitter_never_makes_a_retry_earlier(
    schedule: tuple[float, ...],
    data: st.DataObject,
    share: float,
    jitter: float,
    other: float,
    retry_after: float | None,
    later: timedelta,
) -> None:
    failed = data.draw(st.integers(1, len(schedule)))
    less, more = sorted((jitter, other))

    def at(now: datetime, jitter: float) -> datetime:
        result = next_pass_at(now, schedule, failed, share, jitter, retry_after, FAR)
        assert result is not None
        return result

    assert at(NOW, less) <= at(NOW, more)
    assert at(NOW, less) <= at(NOW + later, less)


@given(schedules, st.integers(1, 20), shares, jitters, retry_afters, st.timedeltas(-FAR_DAYS, FAR_DAYS))
def test_no_retry_after_the_expiry(
    schedule: tuple[float, ...],
    failed: int,
    share: float,
    jitter: float,
    retry_after: float | None,
    left: timedelta,
) -> None:
    at = next_pass_at(NOW, schedule, failed, share, jitter, retry_after, NOW + left)
    assert at is None or at <= NOW + left


@given(schedules, shares, jitters, retry_afters)
def test_there_is_one_retry_for_each_entry_of_the_schedule(
    schedule: tuple[float, ...], share: float, jitter: float, retry_after: float | None
) -> None:
    now, passes = NOW, 1
    while (at := next_pass_at(now, schedule, passes, share, jitter, retry_after, FAR)) is not None:
        now, passes = at, passes + 1
        assert passes <= 100
    assert passes == len(schedule) + 1


@pytest.mark.parametrize("retry_after", [float("inf"), 1e300, 1e18])
def test_an_enormous_retry_after_waits_for_the_expiry(retry_after: float) -> None:
    assert next_pass_at(NOW, SCHEDULE, 1, 0, 0, retry_after, FAR) == FAR


def test_a_retry_after_of_nan_is_ignored() -> None:
    assert next_pass_at(NOW, SCHEDULE, 1, 0, 0, float("nan"), FAR) == NOW + timedelta(seconds=30)


def test_a_retry_needs_a_failed_pass() -> None:
    with pytest.raises(ValueError, match="passes_failed is 0"):
        next_pass_at(NOW, SCHEDULE, 0, 0, 0, None, FAR)
