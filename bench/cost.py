"""The cost of one notification: CPU of every part, statements, commits, bytes and Temporal's own counts."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Self

from temporalio.client import Client

from bench.counters import Counts, cpu_seconds, top_statements
from bench.harness import PARTS, Running
from bench.report import Report
from storage.statements import statements

IDLE_S = 5.0
SETTLE_S = 1.5
"""Postgres' statistics of other sessions arrive within a second."""
STATEMENTS_SHOWN = 8
_BEGINNING = 60
_FUNCTION = re.compile(r"SELECT \* FROM (ledger_\w+)\(")
COSTS, STATEMENTS = "cost per notification, ", "Postgres time per notification, "
"""How the groups of figures begin; what follows is the way of delivery."""


@dataclass(frozen=True, slots=True)
class Histories:
    """Temporal's counts for one workflow: the medians of a sample."""

    events: float
    transitions: float
    bytes: float

    @classmethod
    async def of(cls, client: Client, workflow_ids: Sequence[str]) -> Self:
        """Ask the server. Raises RPCError for an unknown workflow."""
        infos = [
            (await client.get_workflow_handle(id).describe()).raw_description.workflow_execution_info
            for id in workflow_ids
        ]
        return cls(
            median(info.history_length for info in infos),
            median(info.state_transition_count for info in infos),
            median(info.history_size_bytes for info in infos),
        )

    def add_to(self, report: Report, group: str, each: float = 1) -> None:
        """Add them to a report, divided by `each` notifications."""
        report.add("history events", self.events / each, "", group=group)
        report.add("state transitions", self.transitions / each, "", group=group)
        report.add("bytes of history", self.bytes / each, "bytes", group=group)


@dataclass(slots=True)
class Meter:
    """Measures intervals, less what the idle stack costs (sweeps, heartbeats, maintenance)."""

    running: Running
    _idle: Counts = field(default_factory=Counts)
    _before: Counts = field(default_factory=Counts)
    _since: float = 0.0

    async def idle(self) -> None:
        """Measure the idle stack."""
        before = await self.running.counts()
        await asyncio.sleep(IDLE_S)
        self._idle = (await self.running.counts()).since(before)

    async def begin(self) -> None:
        """Start an interval."""
        await self.running.query("SELECT pg_stat_statements_reset()")
        self._before, self._since = await self.running.counts(), time.monotonic()

    def server_ms(self, count: int) -> float:
        """CPU of Temporal's server since the start of the interval: milliseconds for each of `count`."""
        spent = cpu_seconds(self.running.pid("temporal")) - self._before.cpu_s["temporal"]
        share = (time.monotonic() - self._since) / IDLE_S
        return max(0.0, spent - self._idle.cpu_s["temporal"] * share) * 1000 / count

    async def end(self, report: Report, group: str, count: int) -> None:
        """End the interval: add what each of `count` notifications cost, and the costliest statements."""
        seconds = time.monotonic() - self._since
        await asyncio.sleep(SETTLE_S)
        spent = (await self.running.counts()).since(self._before)
        share = (seconds + SETTLE_S) / IDLE_S

        def beyond(kind: str, name: str) -> float:
            idle: float = getattr(self._idle, kind).get(name, 0.0)
            return max(0.0, getattr(spent, kind).get(name, 0.0) - idle * share) / count

        cpu_ms = {part: beyond("cpu_s", part) * 1000 for part in PARTS if part != "simulators"}
        for part, each_ms in cpu_ms.items():
            report.add(f"CPU of {part}", each_ms, "ms", group=group)
        report.add("CPU, together", sum(cpu_ms.values()), "ms", group=group)
        report.add("SQL statements", beyond("postgres", "statements"), "", group=group)
        report.add("commits", beyond("postgres", "xact_commit"), "", group=group)
        report.add("WAL", beyond("postgres", "wal_bytes"), "bytes", group=group)
        report.add("Valkey round trips", beyond("valkey", "evalsha"), "", group=group)
        commands = sum(beyond("valkey", name) for name in spent.valkey)
        report.add("Valkey commands, including those in scripts", commands, "", group=group)
        names = _statements()
        for row in await top_statements(self.running.database_url, STATEMENTS_SHOWN):
            query = row["query"]
            what = next((name for begins, name in names.items() if query.startswith(begins)), None)
            function = _FUNCTION.match(query)
            report.add(
                what or (f"{function[1]}()" if function else query[:_BEGINNING]),
                row["ms"] * 1000 / count,
                "µs",
                group=f"{STATEMENTS}{group.removeprefix(COSTS)}",
                note=f"{row['calls'] / count:.3g} calls",
            )


def _statements() -> dict[str, str]:
    """The name of each of Herald's statements, by the statement's first characters."""
    found: dict[str, str] = {}
    for name, one in statements().items():
        lines = (line.partition("--")[0] for line in one.text.splitlines())
        found[" ".join(" ".join(lines).split())[:_BEGINNING]] = name
    return found
