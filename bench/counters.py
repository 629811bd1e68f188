"""What a measured interval cost: CPU seconds of every part, and the stores' own counters."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio

_TICKS_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its descendants, including those that have ended.

    0 if the process is gone. Source: proc(5), /proc/pid/stat fields 14 to 17.
    """
    return sum(_own_cpu_seconds(member) for member in _family(pid))


def resident_mb(pid: int) -> float:
    """The resident size of a process and its descendants in MiB; shared memory counts once per process."""
    return sum(_resident_pages(member) for member in _family(pid)) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(slots=True)
class Counts:
    """Counters at one moment, or, as the difference of two, over an interval.

    `cpu_s` by part. `postgres`: from pg_stat_database and pg_stat_wal, plus `statements` if Postgres counts
    them. `valkey`: commands by name.
    """

    cpu_s: dict[str, float] = field(default_factory=dict[str, float])
    postgres: dict[str, float] = field(default_factory=dict[str, float])
    valkey: dict[str, float] = field(default_factory=dict[str, float])

    def since(self, before: "Counts") -> "Counts":
        """The difference to an earlier moment."""
        return Counts(
            _difference(self.cpu_s, before.cpu_s),
            _difference(self.postgres, before.postgres),
            _difference(self.valkey, before.valkey),
        )


async def postgres_counts(database_url: str) -> dict[str, float]:
    """Counters of the database. Statistics of other sessions arrive within a second of their end."""
    connection: Any = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow(
            "SELECT xact_commit, xact_rollback, tup_inserted, tup_updated, tup_deleted, tup_fetched, "
            "(SELECT wal_bytes FROM pg_stat_wal)::float8 AS wal_bytes, "
            "(SELECT wal_records FROM pg_stat_wal)::float8 AS wal_records "
            "FROM pg_stat_database WHERE datname = current_database()"
        )
        counts = {name: float(value) for name, value in row.items()}
        if await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"):
            counts["statements"] = float(
                await connection.fetchval(
                    "SELECT COALESCE(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d "
                    "ON d.oid = s.dbid WHERE datname = current_database() AND toplevel"
                )
            )
        return counts
    finally:
        await connection.close()


async def top_statements(database_url: str, limit: int = 12) -> list[dict[str, Any]]:
    """The statements that took most time, with calls and milliseconds; needs pg_stat_statements."""
    connection: Any = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT calls, total_exec_time AS ms, rows, left(regexp_replace(query, '\\s+', ' ', 'g'), 90) "
            "AS query FROM pg_stat_statements WHERE toplevel ORDER BY total_exec_time DESC LIMIT $1",
            limit,
        )
        return [dict(row) for row in rows]
    finally:
        await connection.close()


async def valkey_counts(url: str) -> dict[str, float]:
    """Calls by command, without those for connection set-up."""
    client: Any = redis.asyncio.from_url(url)
    try:
        stats: Mapping[str, Mapping[str, Any]] = await client.info("commandstats")
    finally:
        await client.aclose()
    return {
        name.removeprefix("cmdstat_"): float(values["calls"])
        for name, values in stats.items()
        if not name.startswith(("cmdstat_client", "cmdstat_hello", "cmdstat_info", "cmdstat_ping"))
    }


def _family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found, pending = list[int](), [pid]
    while pending:
        member = pending.pop()
        found.append(member)
        with suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{member}/task"):
                pending += _children(member, thread)
    return found


def _children(pid: int, thread: str) -> list[int]:
    """The running child processes of a thread; none if the thread has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
    except OSError:
        return []


def _own_cpu_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # The name may contain spaces and parentheses; the other fields follow the last parenthesis.
    fields = stat.rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / _TICKS_S


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


def _difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
