"""The audit log in Postgres: append-only, whole under concurrency, and one with the acts that it records."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest
import pytest_asyncio

from domain.audit import Action, AuditEntry, ChainBroken, ChainCheck, Origin, StoredEntry, chain_key
from storage.audit import AuditLog
from storage.audit_queries import AuditFilter, AuditPosition, AuditReader
from storage.group import CommitUnknown, LedgerUnavailable
from storage.postgres import Connection, Pool, open_pool
from storage.providers import set_status

KEY = chain_key("secret")
ORIGIN = Origin("key:1a2b3c4d", "till", "bank", "why not", "request-1")
Tampering = Callable[[Pool], Awaitable[object]]


@pytest_asyncio.fixture
async def pool(own_database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(own_database, size_max=12)
    yield pool
    pool.terminate()


@pytest.fixture
def audit(pool: Pool) -> AuditLog:
    return AuditLog(pool, KEY)


def entry(subject: str, action: Action = Action.KEY_CREATE, origin: Origin = ORIGIN) -> AuditEntry:
    return origin.entry(action, subject, {"to": {"sms": "+234•••••6789"}}, {"counts": 3, "names": ["ü", "a"]})


async def drain(connection: Connection, name: str) -> tuple[bool, Sequence[AuditEntry]]:
    return await set_status(connection, name, "drained"), [entry(name, Action.PROVIDER_DRAIN)]


async def verified(pool: Pool, expected: bytes | None = None) -> int:
    """How many entries the log has. Raises ChainBroken."""
    check = ChainCheck(KEY, expected)
    await AuditReader(pool).read_chain(check.take)
    check.finish()
    return check.last.sequence if check.last else 0


async def chain(pool: Pool) -> list[StoredEntry]:
    """Every entry, in the order of the chain."""
    entries: list[StoredEntry] = []
    await AuditReader(pool).read_chain(entries.append)
    return entries


async def written(pool: Pool, count: int = 6) -> list[StoredEntry]:
    audit = AuditLog(pool, KEY)
    for number in range(count):
        await audit.record_reading(entry(f"subject-{number}"))
    return await chain(pool)


async def test_what_is_read_is_what_was_written(pool: Pool, audit: AuditLog) -> None:
    await audit.record_reading(entry("subject-1"))
    (stored,) = await chain(pool)
    assert (stored.origin, stored.action, stored.subject) == (ORIGIN, "key.create", "subject-1")
    assert stored.before == {"to": {"sms": "+234•••••6789"}}
    assert stored.after == {"counts": 3, "names": ["ü", "a"]}
    now = await pool.fetchval("SELECT now()")
    assert abs((now - stored.at).total_seconds()) < 600


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET reason = 'other' WHERE sequence = 2",
        "UPDATE audit_log SET reason = reason WHERE false",
        "DELETE FROM audit_log WHERE sequence = 2",
        "TRUNCATE audit_log",
        "INSERT INTO audit_log SELECT * FROM audit_log WHERE sequence = 2"
        " ON CONFLICT (sequence) DO UPDATE SET reason = 'other'",
        "MERGE INTO audit_log l USING (SELECT) s ON l.sequence = 2 WHEN MATCHED THEN DELETE",
        "SET session_replication_role = replica; DELETE FROM audit_log",
    ],
)
async def test_the_log_refuses_changes(pool: Pool, statement: str) -> None:
    await written(pool, 3)
    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement)
        await connection.execute("RESET session_replication_role")
    assert await verified(pool) == 3


def as_superuser(statement: str) -> Tampering:
    """Change the log as somebody does who may turn its trigger off."""

    async def run(pool: Pool) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
            await connection.execute(statement)
            await connection.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")

    return run


async def forge(pool: Pool) -> None:
    await AuditLog(pool, chain_key("guess")).record_reading(entry("forged"))


_COPY = (
    "INSERT INTO audit_log SELECT 7, at, actor, actor_name, tenant, action, subject, before, after, reason,"
    " request_id, previous, hash FROM audit_log WHERE sequence = 6"
)


@pytest.mark.parametrize(
    ("tamper", "first"),
    [
        (as_superuser("UPDATE audit_log SET actor = 'key:00000000' WHERE sequence = 4"), 4),
        (as_superuser("UPDATE audit_log SET after = '{}' WHERE sequence = 4"), 4),
        (as_superuser("UPDATE audit_log SET at = at - interval '1 day' WHERE sequence = 4"), 4),
        (as_superuser("DELETE FROM audit_log WHERE sequence = 4"), 4),
        (as_superuser("DELETE FROM audit_log WHERE sequence <= 2"), 1),
        (as_superuser("UPDATE audit_log SET sequence = sequence + 1000 WHERE sequence >= 5"), 5),
        (
            as_superuser(
                "UPDATE audit_log SET sequence = 400 WHERE sequence = 4;"
                "UPDATE audit_log SET sequence = 4 WHERE sequence = 3;"
                "UPDATE audit_log SET sequence = 3 WHERE sequence = 400"
            ),
            3,
        ),
        (as_superuser(_COPY), 7),
        (forge, 7),
    ],
    ids=["actor", "after", "at", "deleted", "start", "moved", "exchanged", "copied", "forged"],
)
async def test_tampering_is_found(pool: Pool, tamper: Tampering, first: int) -> None:
    await written(pool)
    assert await verified(pool) == 6
    await tamper(pool)
    with pytest.raises(ChainBroken) as broken:
        await verified(pool)
    assert broken.value.sequence == first


async def test_a_removed_end_is_found_by_a_hash_from_before(pool: Pool) -> None:
    entries = await written(pool)
    assert await verified(pool, entries[-1].hash) == 6
    await as_superuser("DELETE FROM audit_log WHERE sequence > 4")(pool)
    assert await verified(pool) == 4
    with pytest.raises(ChainBroken, match="was removed, with all that followed it"):
        await verified(pool, entries[-1].hash)
    # Nor does it help to continue from there.
    await AuditLog(pool, KEY).record_reading(entry("after the removal"))
    with pytest.raises(ChainBroken, match="was removed, with all that followed it"):
        await verified(pool, entries[-1].hash)


async def test_the_chain_is_whole_after_many_acts_and_readings_at_once(pool: Pool, own_database: str) -> None:
    others = await open_pool(own_database, size_max=12)
    processes = [AuditLog(pool, KEY), AuditLog(others, KEY)]
    acts = [
        processes[number % 2].perform(lambda c, name=f"provider-{number}": drain(c, name))
        for number in range(50)
    ]
    readings = [processes[number % 2].record_reading(entry(f"user-{number}")) for number in range(50)]
    assert all((await asyncio.gather(*acts, *readings))[:50])
    others.terminate()
    assert await verified(pool) == 100
    subjects = await pool.fetch("SELECT subject FROM audit_log")
    expected = [f"{kind}-{number}" for number in range(50) for kind in ("provider", "user")]
    assert sorted(row["subject"] for row in subjects) == sorted(expected)
    assert await pool.fetchval("SELECT count(*) FROM providers WHERE status = 'drained'") == 50
    assert await pool.fetchval("SELECT bool_and(at >= before) FROM (SELECT at, lag(at, 1, at) OVER"
                               " (ORDER BY sequence) AS before FROM audit_log) t")  # fmt: skip


async def test_readings_at_once_share_a_transaction(pool: Pool, audit: AuditLog) -> None:
    await asyncio.gather(*(audit.record_reading(entry(f"user-{number}")) for number in range(60)))
    transactions = await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM audit_log")
    assert transactions <= 3
    assert await verified(pool) == 60


async def nothing_happened(pool: Pool) -> bool:
    drained = await pool.fetchval("SELECT count(*) FROM providers")
    return (drained, await verified(pool)) == (0, 0)


async def test_an_act_that_fails_leaves_no_entry(pool: Pool, audit: AuditLog) -> None:
    async def fails(connection: Connection) -> tuple[None, Sequence[AuditEntry]]:
        await drain(connection, "twilio")
        raise RuntimeError("after the change")

    with pytest.raises(RuntimeError, match="after the change"):
        await audit.perform(fails)
    assert await nothing_happened(pool)


async def test_an_act_whose_entry_is_refused_does_not_happen(pool: Pool, audit: AuditLog) -> None:
    async def unstorable(connection: Connection) -> tuple[None, Sequence[AuditEntry]]:
        await drain(connection, "twilio")
        return None, [entry("nul \0")]

    with pytest.raises(asyncpg.DataError):
        await audit.perform(unstorable)
    assert await nothing_happened(pool)


async def test_an_act_cut_off_before_its_entry_does_not_happen(pool: Pool, audit: AuditLog) -> None:
    async def cut_off(connection: Connection) -> tuple[None, Sequence[AuditEntry]]:
        _, entries = await drain(connection, "twilio")
        me = await connection.fetchval("SELECT pg_backend_pid()")
        assert await pool.fetchval("SELECT pg_terminate_backend($1, 60000)", me)
        return None, entries

    with pytest.raises((CommitUnknown, LedgerUnavailable)):
        await audit.perform(cut_off)
    assert await nothing_happened(pool)


async def test_an_act_waits_for_the_end_of_the_log_and_gives_up_whole(pool: Pool, audit: AuditLog) -> None:
    async with pool.acquire() as holder, holder.transaction():
        await holder.fetch("SELECT * FROM audit_head_v1()")
        act = asyncio.create_task(audit.perform(lambda c: drain(c, "twilio")))
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory'"
        while not (pids := await pool.fetch(waiting)):
            assert not act.done(), "it does not wait"
        await pool.fetch("SELECT pg_cancel_backend($1)", pids[0]["pid"])
        with pytest.raises(LedgerUnavailable):
            await act
    assert await nothing_happened(pool)
    assert await audit.perform(lambda c: drain(c, "twilio"))
    assert await verified(pool) == 1


async def test_entries_are_announced_once_they_are_committed(pool: Pool) -> None:
    announced: list[StoredEntry] = []
    audit = AuditLog(pool, KEY, appended=announced.extend)
    await audit.perform(lambda c: drain(c, "twilio"))
    await audit.record_reading(entry("user-1"))
    assert announced == await chain(pool)
    await as_superuser("ALTER TABLE audit_log ADD CONSTRAINT no_more CHECK (false) NOT VALID")(pool)
    with pytest.raises(asyncpg.CheckViolationError):
        await audit.record_reading(entry("user-2"))
    assert len(announced) == 2


async def test_pages_and_filters(pool: Pool, audit: AuditLog) -> None:
    other = Origin("cli:ada", "", None)
    for number in range(5):
        await audit.record_reading(entry(f"user-{number}"))
        await audit.record_reading(entry("twilio", Action.PROVIDER_DRAIN, other))
    reader = AuditReader(pool)

    async def sequences(matching: AuditFilter, after: AuditPosition | None = None) -> list[int]:
        return [stored.sequence for stored in await reader.page(matching, 4, after)]

    assert await sequences(AuditFilter()) == [10, 9, 8, 7]
    moments = {stored.sequence: stored.at for stored in await chain(pool)}
    assert await sequences(AuditFilter(), AuditPosition(moments[7], 7)) == [6, 5, 4, 3]
    for matching in (
        AuditFilter(tenant="bank"),
        AuditFilter(actor="key:1a2b3c4d"),
        AuditFilter(action="key.create"),
    ):
        assert await sequences(matching) == [9, 7, 5, 3]
        assert await sequences(matching, AuditPosition(moments[3], 3)) == [1]
    assert await sequences(AuditFilter(subject="user-3", action="key.create")) == [7]
    assert await sequences(AuditFilter(subject="user-3", action="provider.drain")) == []
    assert await sequences(AuditFilter(since=moments[3], until=moments[6])) == [5, 4, 3]
