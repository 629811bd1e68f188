"""The scripts against a model: random reservations and releases return the same results."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ratelimit.keys import Charge, LimitKey
from ratelimit.limiter import Limiter, OnLoss

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


def test_reservations_behave_like_bounded_sets_and_sums(valkey: str, loop: asyncio.AbstractEventLoop) -> None:
    limiter = Limiter.connect(valkey, timeout_s=10)

    class Model(RuleBasedStateMachine):
        """No time passes in a window of an hour or in a day: each limit is a set of at most `max` members,
        and each cap a sum of at most `max_micros` over its charges.
        """

        def __init__(self) -> None:
            super().__init__()
            run = next(_runs)
            self.keys = [LimitKey(f"{run}:{n}", max=n + 1, per_s=3600) for n in range(3)]
            self.held: dict[LimitKey, set[str]] = {key: set() for key in self.keys}
            self.caps = [Charge(f"{run}:spend:{n}", 0, 100 * (n + 1), "USD") for n in range(3)]
            self.charged: dict[str, dict[str, int]] = {cap.name: {} for cap in self.caps}
            self.alerted: dict[str, int] = dict.fromkeys(self.charged, 0)
            loop.run_until_complete(limiter.establish())

        def beside(self, charge: Charge, name: str) -> int:
            return sum(micros for other, micros in self.charged[charge.name].items() if other != name)

        def alerts(self, charge: Charge, total: int) -> list[tuple[Charge, int]]:
            reached = [
                n for n in LEVELS if total * 100 >= charge.max_micros * n and n > self.alerted[charge.name]
            ]
            self.alerted[charge.name] = max(reached, default=self.alerted[charge.name])
            return [(charge, level) for level in reached]

        @rule(member=MEMBERS, which=WHICH, costs=WHICH, send=st.integers(0, 1), micros=st.integers(0, 120))
        def reserve(self, member: str, which: set[int], costs: set[int], send: int, micros: int) -> None:
            keys = [self.keys[n] for n in sorted(which)]
            charges = [replace(self.caps[n], micros=micros) for n in sorted(costs)]
            name = f"{member}:{send}"
            full = tuple(
                key for key in keys if member not in self.held[key] and len(self.held[key]) >= key.max
            )
            over = tuple(
                charge
                for charge in charges
                if micros > self.charged[charge.name].get(name, 0)
                and self.beside(charge, name) + micros > charge.max_micros
            )
            expected = [alert for charge in over for alert in self.alerts(charge, charge.max_micros)]
            answer = loop.run_until_complete(limiter.reserve(keys, member, OnLoss.WAIT, charges, name))
            assert answer.admitted == (not full and not over)
            assert (answer.denied, answer.over) == (full, over)
            assert (answer.free_at_s is None) == answer.admitted
            assert not answer.store_lost
            if answer.admitted:
                for key in keys:
                    self.held[key].add(member)
                for charge in charges:
                    was = self.charged[charge.name].get(name, 0)
                    if micros != was:
                        self.charged[charge.name][name] = micros
                        expected += self.alerts(charge, self.total(charge))
            assert sorted(answer.alerts, key=str) == sorted(expected, key=str)
            assert list(answer.spent) == [self.total(charge) for charge in charges]

        @rule(member=MEMBERS, which=WHICH, costs=WHICH, send=st.integers(0, 1))
        def release(self, member: str, which: set[int], costs: set[int], send: int) -> None:
            keys = [self.keys[n] for n in sorted(which)]
            charges = [self.caps[n] for n in sorted(costs)]
            name = f"{member}:{send}"
            assert loop.run_until_complete(limiter.release(keys, member, charges, name))
            for key in keys:
                self.held[key].discard(member)
            for charge in charges:
                self.charged[charge.name].pop(name, None)

        @rule()
        def count(self) -> None:
            counts, spent = loop.run_until_complete(limiter.count(self.keys, self.caps))
            assert [count.taken for count in counts] == [len(self.held[key]) for key in self.keys]
            full = [count.free_at_s is not None for count in counts]
            assert full == [len(self.held[key]) >= key.max for key in self.keys]
            assert spent == [self.total(cap) for cap in self.caps]

        def total(self, charge: Charge) -> int:
            return sum(self.charged[charge.name].values())

        @invariant()
        def within_bounds(self) -> None:
            assert all(len(members) <= key.max for key, members in self.held.items())
            assert all(self.total(cap) <= cap.max_micros for cap in self.caps)

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
