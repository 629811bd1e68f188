"""What one notification costs: CPU of every part, statements, commits, bytes and Temporal's own counts."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Self

from temporalio.client import Client

from bench.counters import Counts, top_statements
from bench.harness import PARTS, Running
from bench.report import Report

IDLE_S = 5.0
SETTLE_S = 1.5
"""Postgres' statistics of other sessions arrive within a second."""
STATEMENTS_TOLD = 6
STATEMENT_CHARS_MAX = 56


@dataclass(frozen=True, slots=True)
class Histories:
    """Temporal's counts of one workflow: the medians of a sample."""

    events: float
    transitions: float
    bytes: float

    @classmethod
    async def of(cls, client: Client, workflow_ids: Sequence[str]) -> Self:
        """As the server describes them. Raises RPCError for one that it does not know."""
        infos = [
            (await client.get_workflow_handle(id).describe()).raw_description.workflow_execution_info
            for id in workflow_ids
        ]
        return cls(
            median(info.history_length for info in infos),
            median(info.state_transition_count for info in infos),
            median(info.history_size_bytes for info in infos),
        )

    def tell(self, report: Report, group: str, each: float = 1) -> None:
        """Add them to a report, as shares of `each` notifications."""
        report.add("history events", self.events / each, "", group=group)
        report.add("state transitions", self.transitions / each, "", group=group)
        report.add("bytes of history", self.bytes / each, "bytes", group=group)


@dataclass(slots=True)
class Meter:
    """Counts stretches, less what the idle stack costs anyway (sweeps, heartbeats, its own upkeep)."""

    running: Running
    _idle: Counts = field(default_factory=Counts)
    _before: Counts = field(default_factory=Counts)
    _since: float = 0.0

    async def idle(self) -> None:
        """Learn what nothing costs."""
        before = await self.running.counts()
        await asyncio.sleep(IDLE_S)
        self._idle = (await self.running.counts()).since(before)

    async def begin(self) -> None:
        """A stretch begins."""
        await self.running.query("SELECT pg_stat_statements_reset()")
        self._before, self._since = await self.running.counts(), time.monotonic()

    async def end(self, report: Report, group: str, count: int) -> None:
        """The stretch ended: what each of `count` notifications cost. Adds figures, and its statements."""
        seconds = time.monotonic() - self._since
        await asyncio.sleep(SETTLE_S)
        spent = (await self.running.counts()).since(self._before)
        idle, share = self._idle, (seconds + SETTLE_S) / IDLE_S
        for part in PARTS:
            if part != "simulators":
                beyond = spent.cpu_s[part] - idle.cpu_s[part] * share
                report.add(f"CPU of {part}", max(0.0, beyond) * 1000 / count, "ms", group=group)
        for name, what, unit in (
            ("statements", "SQL statements", ""),
            ("xact_commit", "commits", ""),
            ("wal_bytes", "WAL", "bytes"),
        ):
            beyond = spent.postgres[name] - idle.postgres[name] * share
            report.add(what, max(0.0, beyond) / count, unit, group=group)
        commands = spent.valkey_commands - idle.valkey_commands * share
        report.add("Valkey commands, in scripts too", max(0.0, commands) / count, "", group=group)
        scripts = spent.valkey.get("evalsha", 0.0) - idle.valkey.get("evalsha", 0.0) * share
        report.add("Valkey round trips (scripts)", max(0.0, scripts) / count, "", group=group)
        for row in await top_statements(self.running.database_url, STATEMENTS_TOLD):
            what, took = str(row["query"])[:STATEMENT_CHARS_MAX], f"{row['ms'] * 1000 / count:.0f} µs each"
            report.add(what, row["calls"] / count, "calls", group=f"statements, {group}", note=took)
