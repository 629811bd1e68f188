"""The scripts against a model: random reservations and releases return the same results."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ratelimit.keys import Charge, LimitKey
from ratelimit.limiter import Limiter, OnLoss, Reservation

_runs = itertools.count()
MEMBERS = st.sampled_from([f"d{n}" for n in range(6)])
WHICH = st.sets(st.integers(0, 2))
LEVELS = (50, 80, 100)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A separate event loop: rules of a state machine are not coroutines."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Expected:
    """What the store should hold. No time passes in a window of an hour or in a day: each limit is a set of
    at most `max` members, and each cap a sum of at most `max_micros` over its charges.
    """

    def __init__(self, run: int) -> None:
        self.keys = [LimitKey(f"{run}:{n}", max=n + 1, per_s=3600) for n in range(3)]
        self.held: dict[LimitKey, set[str]] = {key: set() for key in self.keys}
        self.caps = [Charge(f"{run}:spend:{n}", 0, 100 * (n + 1), "USD") for n in range(3)]
        self.charged: dict[str, dict[str, int]] = {cap.name: {} for cap in self.caps}
        self._alerted: dict[str, int] = dict.fromkeys(self.charged, 0)

    def reserve(
        self, keys: Sequence[LimitKey], member: str, charges: Sequence[Charge], name: str
    ) -> Reservation:
        """The result, without the time at which to try again."""
        full = tuple(key for key in keys if member not in self.held[key] and len(self.held[key]) >= key.max)
        over = tuple(
            charge
            for charge in charges
            if (more := charge.micros - self.charged[charge.name].get(name, 0)) > 0
            and self.total(charge) + more > charge.max_micros
        )
        alerts = [alert for charge in over for alert in self._alerts(charge, charge.max_micros)]
        if not full and not over:
            for key in keys:
                self.held[key].add(member)
            for charge in charges:
                if charge.micros != self.charged[charge.name].get(name, 0):
                    self.charged[charge.name][name] = charge.micros
                    alerts += self._alerts(charge, self.total(charge))
        spent = tuple(map(self.total, charges))
        return Reservation(not full and not over, None, False, full, over, spent, tuple(alerts))

    def release(self, keys: Sequence[LimitKey], member: str, charges: Sequence[Charge], name: str) -> None:
        for key in keys:
            self.held[key].discard(member)
        for charge in charges:
            self.charged[charge.name].pop(name, None)

    def total(self, charge: Charge) -> int:
        return sum(self.charged[charge.name].values())

    def _alerts(self, charge: Charge, total: int) -> list[tuple[Charge, int]]:
        given = self._alerted[charge.name]
        reached = [level for level in LEVELS if level > given and total * 100 >= charge.max_micros * level]
        self._alerted[charge.name] = max(reached, default=given)
        return [(charge, level) for level in reached]


def test_reservations_behave_like_bounded_sets_and_sums(valkey: str, loop: asyncio.AbstractEventLoop) -> None:
    limiter = Limiter.connect(valkey, timeout_s=10)

    class Model(RuleBasedStateMachine):
        """The store and what it should hold, side by side."""

        def __init__(self) -> None:
            super().__init__()
            self.expected = Expected(next(_runs))
            loop.run_until_complete(limiter.establish())

        def chosen(
            self, which: set[int], costs: set[int], micros: int = 0
        ) -> tuple[list[LimitKey], list[Charge]]:
            keys = [self.expected.keys[n] for n in sorted(which)]
            return keys, [replace(self.expected.caps[n], micros=micros) for n in sorted(costs)]

        @rule(member=MEMBERS, which=WHICH, costs=WHICH, send=st.integers(0, 1), micros=st.integers(0, 120))
        def reserve(self, member: str, which: set[int], costs: set[int], send: int, micros: int) -> None:
            (keys, charges), name = self.chosen(which, costs, micros), f"{member}:{send}"
            answer = loop.run_until_complete(limiter.reserve(keys, member, OnLoss.WAIT, charges, name))
            assert (answer.free_at_s is None) == answer.admitted
            assert replace(answer, free_at_s=None) == self.expected.reserve(keys, member, charges, name)

        @rule(member=MEMBERS, which=WHICH, costs=WHICH, send=st.integers(0, 1))
        def release(self, member: str, which: set[int], costs: set[int], send: int) -> None:
            (keys, charges), name = self.chosen(which, costs), f"{member}:{send}"
            assert loop.run_until_complete(limiter.release(keys, member, charges, name))
            self.expected.release(keys, member, charges, name)

        @rule()
        def count(self) -> None:
            expected = self.expected
            counts, spent = loop.run_until_complete(limiter.count(expected.keys, expected.caps))
            assert [count.taken for count in counts] == [len(expected.held[key]) for key in expected.keys]
            full = [count.free_at_s is not None for count in counts]
            assert full == [len(expected.held[key]) >= key.max for key in expected.keys]
            assert spent == [expected.total(cap) for cap in expected.caps]

        @invariant()
        def within_bounds(self) -> None:
            assert all(len(members) <= key.max for key, members in self.expected.held.items())
            assert all(self.expected.total(cap) <= cap.max_micros for cap in self.expected.caps)

    try:
        run_state_machine_as_test(
            Model,
            settings=settings(
                max_examples=25,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
    finally:
        loop.run_until_complete(limiter.aclose())
