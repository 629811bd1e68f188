"""Migrations and functions run once each and in order, also when run repeatedly; and partitions."""

import asyncio
import itertools
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from devstack.postgres import Postgres
from storage.migrate import (
    MIGRATIONS,
    MigrationChanged,
    Phase,
    Release,
    SchemaError,
    StepFailed,
    WrongPhase,
    migrate,
    pending_steps,
    steps,
)
from storage.statements import FUNCTIONS

NAMES = [step.name for step in steps(Release())]
PARTITIONED = ("notification_attempts", "notification_contents", "receipts", "timeline")
_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """The URL of an empty database."""
    name = f"migrate_{next(_numbers)}"
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute(f'CREATE DATABASE "{name}"')
    yield postgres.url(name)
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


@pytest_asyncio.fixture
async def connection(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def _partitions(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE relkind = 'r' ORDER BY 1"
    )
    return [row["name"] for row in rows]


async def test_a_second_run_finds_nothing_to_do(empty: str) -> None:
    assert await migrate(empty) == NAMES
    assert await migrate(empty) == []


async def test_only_one_of_two_concurrent_processes_runs_the_migrations(empty: str) -> None:
    program = (
        "import asyncio, sys; from storage.migrate import migrate; print(*asyncio.run(migrate(sys.argv[1])))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            empty,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    assert [
        (process.returncode, errors) for process, (_, errors) in zip(processes, outputs, strict=True)
    ] == [(0, b"")] * 2
    assert sorted((output.decode().split() for output, _ in outputs), key=len) == [[], NAMES]


async def test_a_failed_migration_leaves_no_trace_and_runs_again(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("CREATE TABLE providers (id integer)")
    with pytest.raises(StepFailed, match=r"Migration 0005_before_installation failed \(DuplicateTableError"):
        await migrate(empty)
    rows = await connection.fetch("SELECT name FROM schema_migrations ORDER BY ran_at")
    ran = [row["name"] for row in rows]
    assert ran == NAMES[: len(ran)]
    assert await connection.fetchval("SELECT to_regclass('api_keys')") is None
    await connection.execute("DROP TABLE providers")
    assert await migrate(empty) == NAMES[len(ran) :]
    await connection.close()


async def test_a_step_that_waits_for_a_lock_gives_up(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty)
    release = _copy(tmp_path)
    (release.migrations / "0900_before_test.sql").write_text(
        "-- A test.\nALTER TABLE replies ADD more text;\n"
    )
    monkeypatch.setattr("storage.migrate.LOCK_WAIT_S", 0.05)
    reader = await asyncpg.connect(empty)
    async with reader.transaction():
        await reader.fetch("SELECT FROM replies")
        with pytest.raises(StepFailed, match=r"0900_before_test failed \(LockNotAvailableError"):
            await migrate(empty, release=release)
    await reader.close()
    assert await migrate(empty, release=release) == ["0900_before_test"]


async def test_a_new_database_has_its_partitions_whatever_the_phase(empty: str) -> None:
    assert await migrate(empty, [Phase.AFTER]) == NAMES
    connection = await asyncpg.connect(empty)
    assert len(await _partitions(connection)) == len(PARTITIONED) * 5
    await connection.close()


async def test_there_are_partitions_from_last_month_to_three_ahead(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    today = datetime.now(UTC)
    months = [divmod(today.year * 12 + today.month - 1 + step, 12) for step in range(-1, 4)]
    assert await _partitions(connection) == sorted(
        f"{table}_{year}_{month + 1:02}" for table in PARTITIONED for year, month in months
    )


async def test_partitions_cover_whole_months_of_utc(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.execute("SET timezone TO 'Pacific/Auckland'")
    await connection.execute("SELECT ensure_partitions_v1(4)")
    await connection.execute("SET timezone TO 'UTC'")
    bounds = await connection.fetch(
        "SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class"
        " WHERE relname LIKE 'timeline_2%' AND relkind = 'r'"
    )
    assert len(bounds) == 6
    assert all(row["bound"].count("-01 00:00:00+00'") == 2 for row in bounds), bounds


async def test_concurrent_calls_create_each_partition_once(database: str) -> None:
    connections = [await asyncpg.connect(database) for _ in range(2)]
    try:
        before = await _partitions(connections[0])
        await asyncio.gather(*(each.execute("SELECT ensure_partitions_v1(6)") for each in connections))
        after = await _partitions(connections[0])
        assert len(after) == 4 * 8 > len(before)
    finally:
        for each in connections:
            await each.close()


async def test_partitions_have_the_indexes_and_checks_of_their_parents(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Indexes, checks and keys hold in every month."""
    rows = await connection.fetch(
        "SELECT p.relname AS parent, c.relname AS child, count(DISTINCT i.indexrelid) AS indexes,"
        " count(DISTINCT k.oid) FILTER (WHERE k.contype = 'c') AS checks,"
        " count(DISTINCT i.indexrelid) FILTER (WHERE i.indisunique) AS uniques"
        " FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_class c ON c.oid = h.inhrelid"
        " LEFT JOIN pg_index i ON i.indrelid = c.oid LEFT JOIN pg_constraint k ON k.conrelid = c.oid"
        " WHERE c.relkind = 'r' GROUP BY 1, 2"
    )
    found = {(row["parent"], row["indexes"], row["checks"], row["uniques"]) for row in rows}
    assert found == {
        ("notification_attempts", 3, 3, 2),
        ("notification_contents", 1, 0, 1),
        ("receipts", 1, 1, 1),
        ("timeline", 1, 0, 1),
    }


async def test_creating_partitions_waits_for_no_writer_and_no_reader(database: str) -> None:
    writer, maker = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        async with writer.transaction():
            for table in PARTITIONED:
                await writer.execute(f"SELECT FROM {table}")
            await writer.execute(
                "INSERT INTO timeline (notification_id, accepted_at, kind)"
                " VALUES (gen_random_uuid(), now(), 'test')"
            )
            await maker.execute("SET lock_timeout = '2s'")
            await maker.execute("SELECT ensure_partitions_v1(9)")
    finally:
        await writer.close()
        await maker.close()


async def test_a_database_of_another_version_is_refused(empty: str) -> None:
    await migrate(empty)
    connection = await asyncpg.connect(empty)
    await connection.execute("UPDATE schema_migrations SET digest = 'other' WHERE name = $1", NAMES[0])
    await connection.close()
    with pytest.raises(MigrationChanged, match=NAMES[0]):
        await migrate(empty)


async def test_a_changed_function_is_refused_once_it_was_created(empty: str, tmp_path: Path) -> None:
    await migrate(empty)
    release = _copy(tmp_path)
    changed = release.functions / "suppression_key_v1.sql"
    changed.write_text(changed.read_text().replace("lower(", "upper("))
    (release.migrations / "0900_before_test.sql").write_text("-- A test.\nCREATE TABLE added ();\n")
    with pytest.raises(MigrationChanged, match=r"Function suppression_key_v1 .* add a new version of it"):
        await migrate(empty, release=release)
    connection = await asyncpg.connect(empty)
    assert await connection.fetchval("SELECT to_regclass('added')") is None, "refused before anything ran"
    await connection.close()


async def test_the_older_release_still_starts_between_the_phases_of_the_newer(
    empty: str, tmp_path: Path
) -> None:
    await migrate(empty)
    release = _copy(tmp_path)
    (release.migrations / "0900_before_test.sql").write_text("-- A test.\nCREATE TABLE added ();\n")
    (release.migrations / "0901_after_test.sql").write_text("-- A test.\nDROP TABLE replies;\n")
    assert await migrate(empty, [Phase.BEFORE], release) == ["0900_before_test"]
    assert await migrate(empty, [Phase.BEFORE]) == []
    assert await migrate(empty, [Phase.AFTER], release) == ["0901_after_test"]
    with pytest.raises(MigrationChanged, match="0901_after_test ran on this database and is not part"):
        await migrate(empty, [Phase.BEFORE])


async def test_phases_run_in_their_order(empty: str, tmp_path: Path) -> None:
    await migrate(empty)
    release = _copy(tmp_path)
    for name in ("0901_before_a", "0902_after_b", "0903_before_c", "0904_after_d"):
        (release.migrations / f"{name}.sql").write_text(f"-- A test.\nCREATE TABLE t{name} ();\n")
    with pytest.raises(WrongPhase, match="0901_before_a has not run yet: run `herald migrate --before`"):
        await migrate(empty, [Phase.AFTER], release)
    with pytest.raises(WrongPhase, match="0902_after_b belongs to an earlier release"):
        await migrate(empty, [Phase.BEFORE], release)
    expected = ["0901_before_a", "0902_after_b", "0903_before_c", "0904_after_d"]
    assert [step.name for step in await pending_steps(empty, release=release)] == expected
    assert await migrate(empty, release=release) == expected


async def test_a_new_database_runs_every_phase_at_once(empty: str, tmp_path: Path) -> None:
    release = _copy(tmp_path)
    (release.migrations / "0900_after_test.sql").write_text("-- A test.\nCREATE TABLE added ();\n")
    assert (await migrate(empty, [Phase.BEFORE], release))[-1] == "0900_after_test"
    assert await migrate(empty, [Phase.AFTER], release) == []


async def test_pending_steps_are_listed_without_running_them(empty: str) -> None:
    assert [step.name for step in await pending_steps(empty)] == NAMES
    connection = await asyncpg.connect(empty)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


def test_functions_come_after_those_that_they_refer_to(tmp_path: Path) -> None:
    release = _copy(tmp_path)
    (release.functions / "a_v1.sql").write_text("CREATE FUNCTION a_v1() … SELECT b_v1() -- and z_v1\n")
    (release.functions / "b_v1.sql").write_text("CREATE FUNCTION b_v1() …\n")
    order = [step.name for step in steps(release)]
    assert order.index("b_v1") < order.index("a_v1")
    (release.functions / "b_v1.sql").write_text("CREATE FUNCTION b_v1() … SELECT a_v1()\n")
    with pytest.raises(SchemaError, match="refer to each other"):
        steps(release)


def _copy(folder: Path) -> Release:
    """The tree's migrations and functions, to be changed."""
    release = Release(folder / "migrations", folder / "functions")
    shutil.copytree(MIGRATIONS, release.migrations)
    shutil.copytree(FUNCTIONS, release.functions)
    return release
