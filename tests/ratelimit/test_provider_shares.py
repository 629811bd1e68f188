"""A provider's rate is used up and shared, whatever the rate, the tenants, their weights and how they ask."""

import asyncio
from typing import Any

import pytest
from crowd import Asker, Taken, simulate, work
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

TOKENS = 300
"""About how many tokens a simulation gives out."""

RATES = st.floats(0.1, 100)
PATIENT = st.builds(Asker, weight=st.integers(1, 1000), from_s=st.floats(0, 0.5))
"""Asks again after the wait that it got, or at once after a token."""
IMPATIENT = st.builds(
    Asker,
    weight=st.integers(1, 1000),
    every_s=st.floats(0.05, 1.0),
    asks=st.integers(1, 20),
    from_s=st.floats(0, 0.5),
)
"""Asks again after a fixed time, for several deliveries at once."""
simulations = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def take(valkey: str, rate: float, askers: list[Asker]) -> Taken:
    """Let them ask until some TOKENS were given out, and hold the total against the rate."""

    async def run() -> Taken:
        async with Redis.from_url(valkey) as store:
            return await simulate(store, rate, max(5.0, TOKENS / rate), askers)

    found = asyncio.run(run())
    assert sum(found.by) >= 0.9 * rate * (found.seconds - 1), found
    assert sum(found.by) <= max(1, rate) + rate * found.seconds + 1e-6, found
    return found


def share_of(asker: Asker, askers: list[Asker]) -> float:
    return asker.weight / sum(one.weight for one in askers)


@pytest.mark.parametrize(
    ("rate", "weights"),
    [
        (1, [1, 1]),
        (5, [1] * 6),
        (20, [1] * 21),
        (100, [100, 1, 1]),
        (2, [1] * 3),
        (0.1, [1] * 3),
        (1, [100, 1, 1]),
    ],
    ids=str,
)
def test_shares_of_less_than_a_token_are_given_out(valkey: str, rate: float, weights: list[int]) -> None:
    assert all(take(valkey, rate, [Asker(weight) for weight in weights]).by)


@simulations
@given(rate=RATES, askers=st.lists(PATIENT, min_size=1, max_size=50))
def test_patient_tenants_use_up_the_rate_by_weight(valkey: str, rate: float, askers: list[Asker]) -> None:
    found = take(valkey, rate, askers)
    # The first of them may take the bucket as it was at first.
    in_time = sum(found.by) - max(1, rate)
    for got, asker in zip(found.by, askers, strict=True):
        assert got >= 0.8 * share_of(asker, askers) * in_time - 3, found


@simulations
@given(rate=RATES, askers=st.lists(PATIENT | IMPATIENT, min_size=1, max_size=12))
def test_what_is_kept_for_others_costs_little_and_leaves_nobody_out(
    valkey: str, rate: float, askers: list[Asker]
) -> None:
    askers = [Asker(every_s=0.2 / rate, asks=2), *askers]
    found = take(valkey, rate, askers)
    for got, asker in zip(found.by, askers, strict=True):
        # Impatient tenants miss some of their turns.
        assert got or share_of(asker, askers) * sum(found.by) < 10, found


@simulations
@given(rate=st.floats(20, 100), small=st.integers(1, 4))
def test_savings_are_there_in_the_middle_of_a_burst(valkey: str, rate: float, small: int) -> None:
    # At most two thirds of the share of each.
    rare = [Asker(every_s=0.4, from_s=0.01 + 0.01 * place) for place in range(small)]
    found = take(valkey, rate, [Asker(every_s=0.01, asks=3), *rare])
    assert all(got >= (found.seconds - 1) / 0.4 for got in found.by[1:]), found


@pytest.mark.parametrize("tenants", [50, 300, 1000])
async def test_a_take_costs_the_same_for_any_number_of_tenants(store: Any, tenants: int) -> None:
    assert await work(store, tenants) <= 50
