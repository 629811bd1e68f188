"""What a rate of notifications requires of every part of an installation. Pure arithmetic on measured costs.

Rates are per second, sizes in bytes unless stated otherwise. Measurements come in as `Cost`s, assumptions as
`Assumed`; the rest is derived.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

DAY_S = 86_400
MONTH_DAYS = 30


class DeliveryPath(StrEnum):
    """The path of a notification."""

    BATCH = "batch"
    WORKFLOW = "workflow"
    AWAITING = "awaiting"
    """A workflow that stays open until the receipt."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one notification costs. CPU in milliseconds of one core; `wal_bytes` of the ledger."""

    api_cpu_ms: float
    worker_cpu_ms: float
    temporal_cpu_ms: float
    postgres_cpu_ms: float
    valkey_cpu_ms: float
    statements: float
    commits: float
    wal_bytes: float
    valkey_commands: float
    history_events: float
    state_transitions: float
    history_bytes: float


@dataclass(frozen=True, slots=True)
class Kept:
    """What one notification stores in the ledger, including indexes, in bytes."""

    evidence_bytes: float
    """Contents, attempts, receipts and timeline: for `keep_months`."""
    key_bytes: float
    """The notification, its delivery and its message's id: for `idempotency_months`."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The load to size for. `rate_per_s` holds over the busy hours of every day; bursts are `peak` times
    that.

    `batch_share` is batched; of the rest, `awaiting_share` stay open for `receipt_s` seconds.
    `limited_share` have a limit per user that looks back `limit_window_s`.
    """

    rate_per_s: float
    batch_share: float = 0.8
    awaiting_share: float = 0.25
    peak: float = 2.0
    busy_hours: float = 10.0
    keep_months: int = 12
    idempotency_months: int = 24
    receipt_s: float = 10.0
    limited_share: float = 0.5
    limit_window_s: float = 86_400

    @property
    def peak_per_s(self) -> float:
        """The rate to size for."""
        return self.rate_per_s * self.peak

    @property
    def per_day(self) -> float:
        """Notifications a day."""
        return self.rate_per_s * self.busy_hours * 3600

    def share(self, path: DeliveryPath) -> float:
        """The share of all notifications that take this path."""
        single = 1 - self.batch_share
        return {
            DeliveryPath.BATCH: self.batch_share,
            DeliveryPath.WORKFLOW: single * (1 - self.awaiting_share),
            DeliveryPath.AWAITING: single * self.awaiting_share,
        }[path]


@dataclass(frozen=True, slots=True)
class Assumed:
    """What was not measured: rules of thumb, and the most that one machine of each kind can do."""

    utilisation: float = 0.6
    """The most that a core may be used at the peak."""
    transitions_per_shard_s: float = 20
    """A shard writes its transitions one by one; at 5 ms each, ten times this would saturate it."""
    shards_min: int = 512
    transitions_commits: float = 1.5
    """Commits in Temporal's Postgres for each state transition: the execution's, and a share of the
    tasks'.
    """
    temporal_store_share: float = 0.5
    """The share of the development server's CPU that its store uses (SQLite, in process): elsewhere
    Postgres.
    """
    commits_max_per_s: float = 15_000
    """Of one Postgres on local NVMe, including its own group commit."""
    postgres_cores_max: float = 64
    wal_max_bytes_s: float = 300e6
    valkey_commands_max_per_s: float = 100_000
    """Valkey runs commands on one core."""
    valkey_bytes_each: float = 250
    """One reservation: its member, and its share of the user's key."""
    history_retention_days: float = 7
    history_overhead: float = 2.0
    """Temporal's rows and indexes around a history, and its visibility record."""
    page_writes_each: float = 12
    """8 kB blocks that one notification dirties: with millions of rows, random keys share none per
    checkpoint.
    """
    database_pool: int = 10


@dataclass(frozen=True, slots=True)
class Need:
    """One resource: how much is needed at the peak, and the most that one unit can give.

    `limit` is None for what grows by adding processes. `lever` says what to do when the limit is reached.
    """

    name: str
    amount: float
    unit: str
    limit: float | None = None
    lever: str = ""

    @property
    def used(self) -> float | None:
        """The share of the limit that is used; above 1 it is exceeded."""
        return None if self.limit is None else self.amount / self.limit


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The needs of a demand. `first`: what saturates first, at `saturates_at_per_s` of `rate_per_s`."""

    demand: Demand
    needs: Sequence[Need]
    first: Need
    saturates_at_per_s: float
    per_s: Mapping[DeliveryPath, float]


LEDGER = "more in batches; larger groups; a larger machine; then an installation for each set of tenants"
TEMPORAL_STORE = (
    "more in batches; await fewer receipts; a database for visibility; Cassandra, or a second cluster"
)


def plan(
    demand: Demand, costs: Mapping[DeliveryPath, Cost], kept: Kept, assumed: Assumed | None = None
) -> CapacityPlan:
    """Size an installation for a demand. Raises ValueError for shares outside of 0 to 1, or a rate of 0."""
    assumed = assumed or Assumed()
    _check(demand)
    rates = {path: demand.peak_per_s * demand.share(path) for path in DeliveryPath}
    needs = [
        *_temporal(demand, rates, costs, assumed),
        *_processes(rates, costs, assumed),
        *_ledger(demand, rates, costs, kept, assumed),
        *_valkey(demand, rates, costs, assumed),
    ]
    needs.append(_connections(needs, assumed))
    bounded = [(used, need) for need in needs if (used := need.used) is not None]
    used, first = max(bounded, key=lambda pair: pair[0])
    return CapacityPlan(demand, needs, first, demand.rate_per_s / used, rates)


def _total(rates: Mapping[DeliveryPath, float], costs: Mapping[DeliveryPath, Cost], what: str) -> float:
    """The sum of rate times cost over all paths."""
    return sum(rate * getattr(costs[path], what) for path, rate in rates.items() if rate)


def _temporal(
    demand: Demand, rates: Mapping[DeliveryPath, float], costs: Mapping[DeliveryPath, Cost], assumed: Assumed
) -> list[Need]:
    transitions = _total(rates, costs, "state_transitions")
    cpu = _total(rates, costs, "temporal_cpu_ms") / 1000 / assumed.utilisation
    shards = max(assumed.shards_min, _power_of_two(transitions / assumed.transitions_per_shard_s))
    history = _total(rates, costs, "history_bytes") / demand.peak * demand.busy_hours * 3600
    stored = history * assumed.history_overhead * assumed.history_retention_days
    store = cpu * assumed.temporal_store_share
    return [
        Need("Temporal state transitions", transitions, "/s"),
        Need("Temporal history shards", shards, ""),
        Need("Temporal services", cpu - store, "cores", None, "more history and matching pods"),
        Need("Temporal's Postgres: CPU", store, "cores", assumed.postgres_cores_max, TEMPORAL_STORE),
        Need(
            "Temporal's Postgres: commits",
            transitions * assumed.transitions_commits,
            "/s",
            assumed.commits_max_per_s,
            TEMPORAL_STORE,
        ),
        Need("Temporal's Postgres: disk", stored / 1e9, "GB"),
        Need("open workflows", rates[DeliveryPath.AWAITING] * demand.receipt_s, ""),
    ]


def _processes(
    rates: Mapping[DeliveryPath, float], costs: Mapping[DeliveryPath, Cost], assumed: Assumed
) -> list[Need]:
    # A process uses one core at most; two of each, so that one may fail.
    cores = {name: _total(rates, costs, f"{name}_cpu_ms") / 1000 for name in ("worker", "api")}
    return [
        Need(f"{name} processes", max(2, math.ceil(cpu / assumed.utilisation)), "", None, f"more {name}s")
        for name, cpu in cores.items()
    ]


def _ledger(
    demand: Demand,
    rates: Mapping[DeliveryPath, float],
    costs: Mapping[DeliveryPath, Cost],
    kept: Kept,
    assumed: Assumed,
) -> list[Need]:
    cpu = _total(rates, costs, "postgres_cpu_ms") / 1000 / assumed.utilisation
    commits = _total(rates, costs, "commits")
    monthly = demand.per_day * MONTH_DAYS
    bytes_kept = monthly * (
        kept.evidence_bytes * demand.keep_months + kept.key_bytes * demand.idempotency_months
    )
    wal = _total(rates, costs, "wal_bytes")
    writes = demand.peak_per_s * assumed.page_writes_each + commits
    return [
        Need("ledger: CPU", cpu, "cores", assumed.postgres_cores_max, LEDGER),
        Need("ledger: statements", _total(rates, costs, "statements"), "/s"),
        Need("ledger: commits", commits, "/s", assumed.commits_max_per_s, LEDGER),
        Need("ledger: WAL", wal / 1e6, "MB/s", assumed.wal_max_bytes_s / 1e6, LEDGER),
        Need("ledger: writes, at most", writes, "IOPS"),
        Need("ledger: disk, each month", monthly * (kept.evidence_bytes + kept.key_bytes) / 1e9, "GB"),
        Need("ledger: disk, once retention holds", bytes_kept / 1e9, "GB"),
    ]


def _valkey(
    demand: Demand, rates: Mapping[DeliveryPath, float], costs: Mapping[DeliveryPath, Cost], assumed: Assumed
) -> list[Need]:
    remembered = demand.per_day * demand.limited_share * min(1.0, demand.limit_window_s / DAY_S)
    return [
        Need(
            "Valkey: commands",
            _total(rates, costs, "valkey_commands"),
            "/s",
            assumed.valkey_commands_max_per_s,
            "a faster core for Valkey alone; a cluster does not help: all keys share one slot",
        ),
        Need("Valkey: memory", remembered * assumed.valkey_bytes_each / 1e9, "GB"),
    ]


def _connections(needs: Sequence[Need], assumed: Assumed) -> Need:
    processes = sum(need.amount for need in needs if need.name.endswith(" processes"))
    # One more for each, for LISTEN.
    return Need("ledger: connections, at most", processes * (assumed.database_pool + 1), "")


def _power_of_two(value: float) -> int:
    """The smallest power of two that is at least `value`."""
    return 1 << max(0, math.ceil(math.log2(value))) if value > 1 else 1


def _check(demand: Demand) -> None:
    if not (demand.rate_per_s > 0 and demand.peak >= 1 and 0 < demand.busy_hours <= 24):
        raise ValueError(
            "the rate must be above 0, the peak at least 1, the busy hours above 0 and at most 24"
        )
    for name in ("batch_share", "awaiting_share", "limited_share"):
        if not 0 <= getattr(demand, name) <= 1:
            raise ValueError(f"{name} is {getattr(demand, name)}: a share is between 0 and 1")
