"""Pages of the audit log are read by indexes, also with plans that were made while it was small."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from plans import Explained, wasteful

from storage.audit_queries import AuditFilter, AuditPosition, AuditReader
from storage.postgres import open_pool

ROWS = 20_000
READ_MAX = 40
FILL = """
    INSERT INTO audit_log (sequence, at, actor, actor_name, tenant, action, subject, previous, hash)
    SELECT n, $3::timestamptz + n / 1000 * interval '1 s', 'key:' || n % 1000, 'till', 'tenant-' || n % 500,
           CASE WHEN n % 1000 = 0 THEN 'provider.drain' ELSE 'contacts.read' END, 'user-' || n,
           '\\x00', '\\x00'
    FROM generate_series($1::int, $2::int) n
"""
START = datetime(2031, 5, 6, tzinfo=UTC)
FILTERS = {
    "of everyone": (AuditFilter(), False),
    "of everyone, further": (AuditFilter(), True),
    "of a tenant": (AuditFilter(tenant="tenant-7"), True),
    "by an actor": (AuditFilter(actor="key:7"), True),
    "of a rare action": (AuditFilter(action="provider.drain"), False),
    "of an action without entries": (AuditFilter(action="key.revoke"), False),
    "about a user": (AuditFilter(subject="user-7"), False),
    "of a time without entries": (AuditFilter(since=datetime(2099, 1, 1, tzinfo=UTC)), False),
    "before all entries": (AuditFilter(until=datetime(2001, 1, 1, tzinfo=UTC)), False),
}
"""Each, and whether it is about a later page."""


async def _wrong(explained: Explained) -> dict[str, set[str]]:
    reader = AuditReader(explained)  # pyright: ignore[reportArgumentType] (all that it needs)
    wrong: dict[str, set[str]] = {}
    for name, (matching, later) in FILTERS.items():
        explained.plans()
        await reader.page(matching, 10, AuditPosition(START + timedelta(seconds=10), 9000) if later else None)
        plans = explained.plans()
        assert "list_audit_entries" in plans, name
        wrong[name] = wasteful(plans, READ_MAX)
    return {name: found for name, found in wrong.items() if found}


@pytest.mark.parametrize("size", [0, 300])
async def test_pages_of_the_audit_log_use_indexes(own_database: str, size: int) -> None:
    filler = await asyncpg.connect(own_database)
    await filler.execute("ALTER TABLE audit_log SET (autovacuum_enabled = off)")
    await filler.execute(FILL, 1, size, START)
    if size:
        await filler.execute("ANALYZE audit_log")
    pool = await open_pool(own_database, size_max=1)
    async with pool.acquire() as connection:
        explained = Explained(connection)
        await explained.start()
        for _ in range(8):
            await _wrong(explained)
        await filler.execute(FILL, size + 1, ROWS, START)
        assert await _wrong(explained) == {}
        await filler.execute("ANALYZE audit_log")
        assert await _wrong(explained) == {}
        explained.stop()
    await pool.close()
    await filler.close()
