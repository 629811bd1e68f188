"""Fills a ledger with final notifications of the last months, inside Postgres, from the files here.

Each file fills one table. $1, $2: the first and the last number; $3 + number * $4: when it was accepted;
$5: the number of users.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from bench.harness import Running

MONTHS = 12
"""As long as herald.toml keeps evidence, for any number of rows."""
PER_USER = 10
AT_ONCE = 2
WHOLE = ("notifications", "deliveries", "provider_messages", "users")
KEYS = ("notifications", "deliveries")
BY_MONTH = ("notification_attempts", "receipts", "notification_contents", "timeline")

SHARED_BUFFERS = "6GB"
"""For every size: a quarter of the machine's memory, as Postgres recommends (the default is 128 MB)."""
_PREWARM = """
SELECT count(pg_prewarm(index.indexrelid))
FROM unnest($1::text[]) name JOIN pg_index index ON index.indrelid = name::regclass"""
_BULK = ("wal_level = minimal", "max_wal_senders = 0", "max_wal_size = '8GB'", "autovacuum = off")
"""With these, a table created and filled in one transaction is written once, without WAL."""
_SESSION = "SET maintenance_work_mem = '1GB'; SET timezone = 'UTC'; SET synchronous_commit = off"
_SIZE = """
SELECT sum(pg_total_relation_size(COALESCE(leaf.relid, name::regclass)))::float8
FROM unnest($1::text[]) name LEFT JOIN LATERAL pg_partition_tree(name::regclass) leaf ON true
"""
_INDEXES = """
SELECT pg_get_indexdef(indexrelid) AS made, indexrelid::regclass::text AS name, conname AS rule,
       pg_get_constraintdef(c.oid) AS ruled
FROM pg_index LEFT JOIN pg_constraint c ON c.conindid = indexrelid AND c.conrelid = indrelid
WHERE indrelid = $1::text::regclass
"""


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was generated, how long it took, and the size of the database.

    Bytes per notification, indexes included: `key_bytes` stay as long as the idempotency key is known,
    `evidence_bytes` are dropped with their month.
    """

    rows: int
    seconds: float
    megabytes: float
    key_bytes: float
    evidence_bytes: float


async def seed_history(running: Running, rows: int) -> Seeded:
    """Fill an empty ledger with `rows` final notifications, spread evenly over the last months.

    Indexes are built after the rows. Afterwards Postgres has its usual settings, except for SHARED_BUFFERS;
    tables are vacuumed and analyzed, a checkpoint is complete, and the indexes that are written to are in
    memory, as on a server that has run for a while.
    """
    started = time.monotonic()
    begins = _month(datetime.now(UTC), -MONTHS)
    step = (datetime.now(UTC) - timedelta(minutes=1) - begins) / rows
    values = (begins, step, max(1, rows // PER_USER))
    await _settings(running, *(f"ALTER SYSTEM SET {setting}" for setting in _BULK))
    slots = asyncio.Semaphore(AT_ONCE)

    async def job(table: str) -> None:
        async with slots:
            connection: Any = await asyncpg.connect(running.database_url)
            try:
                await connection.execute(_SESSION)
                if table in BY_MONTH:
                    await _fill_months(connection, table, rows, values)
                else:
                    await _fill(connection, table, rows, values)
                await connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
            finally:
                await connection.close()

    # The largest first, so that it does not run alone at the end.
    await asyncio.gather(*map(job, (BY_MONTH[0], *WHOLE, *BY_MONTH[1:])))
    await running.query("SELECT ensure_partitions_v1(3)")
    await running.query("CHECKPOINT")
    await _settings(running, "ALTER SYSTEM RESET ALL", *_REMAINING)
    await running.query("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
    await running.query(_PREWARM, [*WHOLE, *(f"{table}_{datetime.now(UTC):%Y_%m}" for table in BY_MONTH)])
    size = await running.value("SELECT pg_database_size(current_database())")
    keys = await running.value(_SIZE, list(KEYS))
    evidence = await running.value(_SIZE, [*BY_MONTH, "provider_messages"])
    return Seeded(rows, time.monotonic() - started, size / 2**20, keys / rows, evidence / rows)


_REMAINING = (
    "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'",
    f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'",
)
"""The first is what bench.harness sets to count statements."""


async def _settings(running: Running, *changes: str) -> None:
    connection: Any = await asyncpg.connect(running.database_url)
    for change in changes:
        await connection.execute(change)
    await connection.close()
    await running.stack.stop("postgres")
    await running.stack.resume("postgres")


async def _fill(connection: Any, table: str, rows: int, values: Sequence[Any]) -> None:
    async with connection.transaction():
        await connection.execute(f"TRUNCATE {table}")
        indexes = await connection.fetch(_INDEXES, table)
        for index in indexes:
            await connection.execute(
                f"ALTER TABLE {table} DROP CONSTRAINT {index['rule']}"
                if index["rule"]
                else f"DROP INDEX {index['name']}"
            )
        await connection.execute(_statement(table), 1, rows, *values)
        for index in indexes:
            await connection.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT {index['rule']} {index['ruled']}"
                if index["rule"]
                else index["made"]
            )


async def _fill_months(connection: Any, table: str, rows: int, values: Sequence[Any]) -> None:
    begins, step, users = values
    last = 0
    for number in range(MONTHS + 1):
        month, after = _month(begins, number), _month(begins, number + 1)
        first, last = last + 1, min(rows, -((begins - after) // step) - 1)
        child = f"{table}_{month:%Y_%m}"
        async with connection.transaction():
            # As ensure_partitions() does: created detached, attached once filled.
            await connection.execute(f"DROP TABLE IF EXISTS {child}")
            await connection.execute(
                f"CREATE TABLE {child} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
            )
            await connection.execute(
                _statement(table).replace(f"INTO {table}", f"INTO {child}"), first, last, begins, step, users
            )
            await connection.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {child} FOR VALUES FROM ('{month}') TO ('{after}')"
            )


def _month(moment: datetime, later: int) -> datetime:
    """The first moment of the month `later` months later."""
    months = moment.year * 12 + moment.month - 1 + later
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _statement(table: str) -> str:
    return Path(__file__).with_name(f"{table}.sql").read_text(encoding="utf-8")
