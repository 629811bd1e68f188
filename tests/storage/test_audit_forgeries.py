"""Forged rows of the audit log: an INSERT is refused, or the verification finds it, and lists go on."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from api.audit import AuditEntryView
from domain.audit import Action, AuditEntry, ChainBroken, ChainCheck, Origin, chain_key
from storage.audit import AuditLog
from storage.audit_queries import CHAIN_ROWS, AuditFilter, AuditReader
from storage.postgres import Connection, Pool, open_pool

KEY = chain_key("secret")
WRITTEN = 6
ORIGIN = Origin("key:1a2b3c4d", "till", "bank")
LAST = 2**63 - 1
"""The greatest value of a bigint."""

COLUMNS = (
    *("sequence", "at", "actor", "actor_name", "tenant", "action", "subject", "before", "after", "reason"),
    *("request_id", "previous", "hash"),
)

UNGUARD = """
    DO $$
    DECLARE
        guard record;
    BEGIN
        FOR guard IN
            SELECT conname FROM pg_constraint WHERE conrelid = 'audit_log'::regclass AND contype <> 'n'
        LOOP
            EXECUTE format('ALTER TABLE audit_log DROP CONSTRAINT %I', guard.conname);
        END LOOP;
        FOR guard IN SELECT attname FROM pg_attribute WHERE attrelid = 'audit_log'::regclass AND attnum > 0
        LOOP
            EXECUTE format('ALTER TABLE audit_log ALTER %I DROP NOT NULL', guard.attname);
        END LOOP;
    END $$
"""
"""Only the table's owner may do this."""


@dataclass(frozen=True)
class Forgery:
    """A row that is like the last entry except for these columns, in SQL. `first`: the entry that is wrong.

    `refused`: the table does not accept it.
    """

    first: int
    refused: bool = False
    sequence: str = "7"
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def statement(self) -> str:
        """The INSERT."""
        values = {column: column for column in COLUMNS} | {"sequence": self.sequence} | dict(self.changes)
        return f"INSERT INTO audit_log SELECT {', '.join(values.values())} FROM audit_log WHERE sequence = 6"


def with_column(column: str, value: str, *, refused: bool = False) -> Forgery:
    return Forgery(7, refused, changes=((column, value),))


FORGERIES = {
    "number 0": Forgery(0, refused=True, sequence="0"),
    "number -1": Forgery(-1, refused=True, sequence="-1"),
    "number -1000": Forgery(-1000, refused=True, sequence="-1000"),
    "the least number": Forgery(-LAST - 1, refused=True, sequence=f"({-LAST - 1})::bigint"),
    "the same number": Forgery(6, refused=True, sequence="6"),
    "the first number again": Forgery(1, refused=True, sequence="1"),
    "no number": Forgery(0, refused=True, sequence="NULL::bigint"),
    "after a gap": Forgery(7, sequence="8"),
    "far beyond": Forgery(7, sequence="1000000"),
    "the greatest number": Forgery(7, sequence=str(LAST)),
    "a copy": Forgery(7),
    "following the last": with_column("previous", "hash"),
    "a hash of zeros": with_column("hash", "decode(repeat('00', 32), 'hex')"),
    "an empty hash": with_column("hash", r"'\x'::bytea"),
    "no hash": with_column("hash", "NULL::bytea", refused=True),
    "no previous hash": with_column("previous", "NULL::bytea", refused=True),
    "no time": with_column("at", "NULL::timestamptz", refused=True),
    "no actor": with_column("actor", "NULL::text", refused=True),
    "the past": with_column("at", "at - interval '20 years'"),
    "the far past": with_column("at", "timestamptz '0001-01-01 00:00Z'", refused=True),
    "before Christ": with_column("at", "timestamptz '4000-01-01 00:00Z BC'", refused=True),
    "before all times": with_column("at", "timestamptz '-infinity'", refused=True),
    "the future": with_column("at", "at + interval '20 years'"),
    "the far future": with_column("at", "timestamptz '9999-12-31 23:59:59.999999Z'", refused=True),
    "a year of five digits": with_column("at", "timestamptz '20000-01-01 00:00Z'", refused=True),
    "after all times": with_column("at", "timestamptz 'infinity'", refused=True),
    "a long number": with_column("after", "repeat('9', 5000)::jsonb"),
    "a large fraction": with_column("after", "(repeat('9', 400) || '.5')::jsonb"),
    "deep lists": with_column("after", "(repeat('[', 3000) || repeat(']', 3000))::jsonb"),
    "deep objects": with_column("before", """(repeat('{"a":', 3000) || '1' || repeat('}', 3000))::jsonb"""),
    "a text for details": with_column("after", """'"text"'::jsonb"""),
    "an unknown action": with_column("action", "'provider.explode'"),
}


@pytest_asyncio.fixture
async def log(pool: Pool) -> AsyncIterator[Pool]:
    """The module's database. Its log has entries."""
    await write(pool)
    yield pool
    await clear(pool)


@pytest_asyncio.fixture
async def unguarded(own_database: str) -> AsyncIterator[Pool]:
    """A database whose table accepts every row. Its log is empty."""
    pool = await open_pool(own_database, size_max=3)
    await pool.execute(UNGUARD)
    yield pool
    pool.terminate()


async def write(pool: Pool, count: int = WRITTEN) -> None:
    entries = [
        ORIGIN.entry(Action.CONTACTS_READ, f"user-{number}", {"number": number}, {"number": -number})
        for number in range(count)
    ]

    async def act(_: Connection) -> tuple[None, Sequence[AuditEntry]]:
        return None, entries

    await AuditLog(pool, KEY).perform(act)


async def clear(pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        await connection.execute("TRUNCATE audit_log")
        await connection.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")


async def verified(pool: Pool) -> int:
    """The number of entries. Raises ChainBroken."""
    check = ChainCheck(KEY)
    await AuditReader(pool).read_chain(check.take)
    check.finish()
    return check.last.sequence if check.last else 0


async def first_wrong(pool: Pool) -> int:
    """The entry that the verification names."""
    with pytest.raises(ChainBroken, match=r"missing|not written by this installation") as broken:
        await verified(pool)
    return broken.value.sequence


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_insert_is_refused_or_found(log: Pool, name: str) -> None:
    forgery = FORGERIES[name]
    assert await verified(log) == WRITTEN
    if forgery.refused:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await log.execute(forgery.statement)
        assert await verified(log) == WRITTEN
        return
    await log.execute(forgery.statement)
    assert await first_wrong(log) == forgery.first
    # Lists show it, and whatever else there is.
    listed = await AuditReader(log).page(AuditFilter(), 50)
    assert len([AuditEntryView.of(entry).model_dump_json() for entry in listed]) == WRITTEN + 1


async def test_rows_that_the_owner_let_in_are_found(unguarded: Pool) -> None:
    found: dict[str, int] = {}
    for name, forgery in FORGERIES.items():
        await write(unguarded)
        await unguarded.execute(forgery.statement)
        found[name] = await first_wrong(unguarded)
        await clear(unguarded)
    assert found == {name: forgery.first for name, forgery in FORGERIES.items()}


@pytest.mark.parametrize("sequence", [None, -1, 0, 1, 2])
async def test_a_forged_row_of_an_empty_log_is_found(unguarded: Pool, sequence: int | None) -> None:
    await unguarded.execute(
        "INSERT INTO audit_log (sequence, at, actor, actor_name, action, subject, previous, hash)"
        r" VALUES ($1, now(), 'key:1a2b3c4d', '', 'key.create', 'x', decode(repeat('00', 32), 'hex'), '\x')",
        sequence,
    )
    assert await first_wrong(unguarded) == min(sequence or 0, 1)


async def test_a_number_that_is_used_twice_is_found_wherever_it_is(unguarded: Pool) -> None:
    again = "INSERT INTO audit_log SELECT * FROM audit_log WHERE sequence = $1"
    for sequence in (1, 2, CHAIN_ROWS - 1, CHAIN_ROWS, CHAIN_ROWS + 1, CHAIN_ROWS + 2):
        await write(unguarded, CHAIN_ROWS + 2)
        assert await verified(unguarded) == CHAIN_ROWS + 2
        await unguarded.execute(again, sequence)
        assert await first_wrong(unguarded) == sequence
        await clear(unguarded)
