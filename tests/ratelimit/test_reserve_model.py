"""The scripts against a model: random reservations and releases return the same results."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ratelimit.keys import LimitKey
from ratelimit.limiter import Limiter

_runs = itertools.count()
MEMBERS = st.sampled_from([f"d{n}" for n in range(6)])


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A separate event loop: rules of a state machine are not coroutines."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_reservations_behave_like_bounded_sets(valkey: str, loop: asyncio.AbstractEventLoop) -> None:
    limiter = Limiter.connect(valkey, timeout_s=10)

    class Model(RuleBasedStateMachine):
        """No time passes in a window of an hour: each limit is a set of at most `max` members."""

        def __init__(self) -> None:
            super().__init__()
            run = next(_runs)
            self.keys = [LimitKey(f"{run}:{n}", max=n + 1, per_s=3600) for n in range(3)]
            self.held: dict[LimitKey, set[str]] = {key: set() for key in self.keys}
            loop.run_until_complete(limiter.establish())

        @rule(member=MEMBERS, which=st.sets(st.integers(0, 2), min_size=1))
        def reserve(self, member: str, which: set[int]) -> None:
            keys = [self.keys[n] for n in sorted(which)]
            full = tuple(
                key for key in keys if member not in self.held[key] and len(self.held[key]) >= key.max
            )
            answer = loop.run_until_complete(limiter.reserve(keys, member))
            assert answer.admitted == (not full)
            assert answer.denied == full
            assert (answer.free_at_s is None) == answer.admitted
            assert not answer.store_lost
            if answer.admitted:
                for key in keys:
                    self.held[key].add(member)

        @rule(member=MEMBERS, which=st.sets(st.integers(0, 2), min_size=1))
        def release(self, member: str, which: set[int]) -> None:
            keys = [self.keys[n] for n in sorted(which)]
            assert loop.run_until_complete(limiter.release(keys, member))
            for key in keys:
                self.held[key].discard(member)

        @invariant()
        def within_bounds(self) -> None:
            assert all(len(members) <= key.max for key, members in self.held.items())

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
