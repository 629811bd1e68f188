"""The arithmetic of a capacity plan, with simple costs."""

from dataclasses import replace

import pytest

from console.capacity_model import Assumed, CapacityPlan, Cost, DeliveryPath, Demand, Kept, plan

NOTHING = Cost(*([0.0] * 12))
WORKFLOW = Cost(
    api_cpu_ms=1,
    worker_cpu_ms=10,
    temporal_cpu_ms=12,
    postgres_cpu_ms=3,
    valkey_cpu_ms=0.1,
    statements=8,
    commits=6,
    wal_bytes=8000,
    valkey_commands=3,
    history_events=8,
    state_transitions=4,
    history_bytes=3000,
)
BATCH = replace(NOTHING, worker_cpu_ms=1, postgres_cpu_ms=1, commits=0.1, wal_bytes=8000, valkey_commands=3)
COSTS = {
    DeliveryPath.BATCH: BATCH,
    DeliveryPath.WORKFLOW: WORKFLOW,
    DeliveryPath.AWAITING: replace(WORKFLOW, state_transitions=9),
}
KEPT = Kept(evidence_bytes=1500, key_bytes=500)
SINGLE = Demand(1000, batch_share=0, awaiting_share=0, peak=1)


def amount(found: CapacityPlan, name: str) -> float:
    return {need.name: need.amount for need in found.needs}[name]


def planned(demand: Demand, **assumed: float) -> CapacityPlan:
    return plan(demand, COSTS, KEPT, Assumed(**assumed))  # pyright: ignore[reportArgumentType] (numbers all)


def test_needs_are_rate_times_cost() -> None:
    found = planned(SINGLE, utilisation=0.5, temporal_store_share=0.25, transitions_commits=2)
    assert amount(found, "Temporal state transitions") == 4000
    assert amount(found, "Temporal's Postgres: commits") == 8000
    assert amount(found, "Temporal services") == pytest.approx(1000 * 0.012 / 0.5 * 0.75)
    assert amount(found, "Temporal's Postgres: CPU") == pytest.approx(1000 * 0.012 / 0.5 * 0.25)
    assert amount(found, "worker processes") == 20
    assert amount(found, "api processes") == 2
    assert amount(found, "ledger: CPU") == 6
    assert amount(found, "ledger: WAL") == 8
    assert amount(found, "ledger: connections, at most") == 22 * 11


def test_bursts_size_everything_but_storage() -> None:
    calm, bursts = planned(SINGLE), planned(replace(SINGLE, peak=3))
    assert amount(bursts, "ledger: CPU") == pytest.approx(3 * amount(calm, "ledger: CPU"))
    for name in ("ledger: disk, each month", "Temporal's Postgres: disk", "Valkey: memory"):
        assert amount(bursts, name) == pytest.approx(amount(calm, name)), name


def test_evidence_and_keys_have_separate_retention() -> None:
    found = planned(replace(SINGLE, busy_hours=1, keep_months=2, idempotency_months=10))
    monthly = 1000 * 3600 * 30
    assert amount(found, "ledger: disk, each month") == pytest.approx(monthly * 2000 / 1e9)
    assert amount(found, "ledger: disk, once retention holds") == pytest.approx(
        monthly * (1500 * 2 + 500 * 10) / 1e9
    )


def test_shares_divide_the_rate() -> None:
    found = planned(Demand(100, batch_share=0.8, awaiting_share=0.25, peak=2, receipt_s=30))
    assert found.per_s == {
        DeliveryPath.BATCH: 160,
        DeliveryPath.WORKFLOW: pytest.approx(30),
        DeliveryPath.AWAITING: pytest.approx(10),
    }
    assert amount(found, "open workflows") == pytest.approx(300)
    assert amount(found, "Temporal state transitions") == pytest.approx(30 * 4 + 10 * 9)


@pytest.mark.parametrize(("rate", "shards"), [(10, 512), (2560, 512), (2561, 1024), (10_000, 2048)])
def test_shards_are_a_power_of_two_above_a_minimum(rate: float, shards: int) -> None:
    found = planned(replace(SINGLE, rate_per_s=rate), transitions_per_shard_s=20)
    assert amount(found, "Temporal history shards") == shards


def test_the_most_used_need_saturates_first() -> None:
    found = planned(SINGLE, commits_max_per_s=12_000, transitions_commits=1)
    assert found.first.name == "ledger: commits"
    assert found.saturates_at_per_s == pytest.approx(2000)
    batched = planned(replace(SINGLE, batch_share=1), commits_max_per_s=12_000)
    assert batched.first.name != "ledger: commits"
    assert batched.saturates_at_per_s > found.saturates_at_per_s


@pytest.mark.parametrize(
    "wrong",
    [{"rate_per_s": 0}, {"batch_share": 1.1}, {"awaiting_share": -0.1}, {"peak": 0.5}, {"busy_hours": 25}],
)
def test_an_invalid_demand_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"share|rate"):
        planned(replace(SINGLE, **wrong))
