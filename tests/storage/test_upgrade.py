"""An upgrade: processes of the last release continue over this release's schema, beside its processes.

Their statements are in releases/<version>/ (release_data.py). The database begins with their schema.
"""

import asyncio
import itertools
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from life import Life
from recording import Replay
from release_data import LANE, ROOT, USER, Released, newest, types_of

from devstack.postgres import Postgres
from domain.notification import Lane
from storage.migrate import MIGRATIONS, Phase, Release, Step, migrate, steps
from storage.postgres import Pool, open_pool
from storage.statements import FUNCTIONS

RELEASED = newest()
FIRST = ("accept", "broadcast")
LATER = tuple(stage for stage in RELEASED.life if stage not in FIRST)
_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def database_url(postgres: Postgres) -> AsyncIterator[str]:
    """A database with the last release's schema."""
    name = f"upgrade_{next(_numbers)}"
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute(f'CREATE DATABASE "{name}"')
    url = postgres.url(name)
    await _made_by(RELEASED, url)
    yield url
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


@pytest_asyncio.fixture
async def released_pool(database_url: str) -> AsyncIterator[Pool]:
    """A worker of the last release: its connections are as old as its database."""
    pool = await open_pool(database_url, size_max=1)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def pool(database_url: str, released_pool: Pool) -> AsyncIterator[Pool]:
    """A worker of this tree."""
    pool = await open_pool(database_url, size_max=2)
    yield pool
    await pool.close()


async def _made_by(release: Released, url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE schema_migrations"
        " (name text PRIMARY KEY, digest text NOT NULL, ran_at timestamptz NOT NULL DEFAULT now())"
    )
    for name, text in release.steps.items():
        await connection.execute(text)
        digest = Step(name, Phase.BEFORE, text).digest
        await connection.execute("INSERT INTO schema_migrations (name, digest) VALUES ($1, $2)", name, digest)
    await connection.execute("SELECT ensure_partitions_v1(3)")
    await connection.close()


async def _herald_migrate(url: str, phase: str) -> None:
    """Run `herald migrate` as an operator does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "migrate", phase),
        cwd=ROOT,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "HERALD_DATABASE_URL": url,
            "HERALD_VALKEY_URL": "redis://127.0.0.1:9",
            "HERALD_TEMPORAL__ADDRESS": "127.0.0.1:9",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def _check_all_still_run(pool: Pool) -> None:
    """Every statement and call of the released processes has the same types as before."""
    async with pool.acquire() as connection:
        for name, (text, types) in RELEASED.statements.items():
            assert await types_of(connection, text) == types, name


async def _begin(replay: Replay) -> None:
    for stage in FIRST:
        await replay.run(RELEASED.life[stage])


async def _together(replay: Replay, stages: Sequence[str], life: Life, own: Sequence[str]) -> None:
    """Both releases alternate, one stage each."""
    async with asyncio.timeout(60):
        for released, todays in itertools.zip_longest(stages, own):
            if released:
                await replay.run(RELEASED.life[released])
            if todays:
                await life.stages[todays]()


async def test_both_releases_continue_while_the_schema_is_upgraded(
    database_url: str, released_pool: Pool, pool: Pool
) -> None:
    await _check_all_still_run(released_pool)
    async with released_pool.acquire() as connection:
        await _begin(Replay(connection))
    await _herald_migrate(database_url, "--before")

    await _check_all_still_run(released_pool)
    todays = Life(pool, "today", Lane.BULK)
    async with released_pool.acquire() as connection:
        await _together(Replay(connection), LATER, todays, list(todays.stages))

    await _herald_migrate(database_url, "--after")
    for happens in Life(pool, "tomorrow", Lane.BULK).stages.values():
        await happens()


async def test_each_release_continues_what_the_other_accepted(
    database_url: str, released_pool: Pool, pool: Pool
) -> None:
    async with released_pool.acquire() as connection:
        await _begin(Replay(connection))
    await _herald_migrate(database_url, "--before")
    theirs, ours = Life(pool, USER, LANE), Life(pool, "today", LANE)
    for stage in LATER:
        await theirs.stages[stage]()
    for stage in FIRST:
        await ours.stages[stage]()
    async with released_pool.acquire() as connection:
        worker = Replay(connection, _standing_for(ours))
        for stage in LATER:
            await worker.run(RELEASED.life[stage])


def _standing_for(life: Life) -> Mapping[str, str]:
    """The substitutions that make a replay of the released life act on this one."""
    recorded = Life(None, USER, LANE)
    ids = zip(recorded.ids, life.ids, strict=True)
    return {USER: life.user, **{str(theirs): str(ours) for theirs, ours in ids}}


def test_released_steps_are_unchanged_or_dropped_on_purpose() -> None:
    """A released migration or function never changes; a function goes only by an after migration."""
    tree = steps(Release())
    now = {step.name: step.text for step in tree}
    dropping = "\n".join(step.text for step in tree if step.is_migration and step.phase is Phase.AFTER)
    changed = {name for name, text in RELEASED.steps.items() if name in now and now[name] != text}
    assert changed == set(), "add a new version of it instead"
    missing = {name for name in RELEASED.steps.keys() - now.keys() if name not in dropping}
    assert missing == set(), "drop it in an after migration"
    assert {name for name in now if f"IF EXISTS {name}" in dropping} == set(), (
        "a dropped function is removed from the tree"
    )


NEXT_UPDATE = """-- The next release's update, with one more field and column.
CREATE TYPE delivery_update_v2 AS (
    delivery_id uuid, version integer, status text, due_at timestamptz, note text
);

CREATE FUNCTION ledger_update_v2(updates delivery_update_v2[])
RETURNS TABLE (id uuid, version integer, status status, note text)
LANGUAGE sql AS $$
    UPDATE deliveries d
    SET version = d.version + 1, status = input.status::status, due_at = input.due_at,
        note = input.note
    FROM unnest(updates) input WHERE d.id = input.delivery_id AND d.version = input.version
    RETURNING d.id, d.version, d.status, d.note
$$;
"""
CALL_NEXT = """
SELECT u.* FROM deliveries d, ledger_update_v2(
    ARRAY[ROW(d.id, d.version, 'sent', NULL, 'why')::delivery_update_v2]) u
WHERE d.notification_id = $1 LIMIT 1
"""


async def test_a_function_is_replaced_while_its_callers_run(
    database_url: str, released_pool: Pool, tmp_path: Path
) -> None:
    """The next release changes the signature and return type, adds a column and drops the old function."""
    await migrate(database_url)
    release = _next_release(tmp_path)
    life = Life(released_pool, "today", Lane.BULK)
    for stage in FIRST:
        await life.stages[stage]()
    assert (await migrate(database_url, [Phase.BEFORE], release))[-1] == "ledger_update_v2"

    for stage in LATER[:-1]:
        await life.stages[stage]()
    [updated] = await released_pool.fetch(CALL_NEXT, life.sent)
    assert (updated["status"], updated["note"]) == ("sent", "why")

    assert await migrate(database_url, [Phase.AFTER], release) == ["9002_after_drop_update_v1"]
    assert await released_pool.fetch(CALL_NEXT, life.sent)
    later = Life(released_pool, "too late", Lane.BULK)
    await later.accept()
    with pytest.raises(asyncpg.UndefinedFunctionError, match="ledger_update_v1"):
        await later.updates()


def _next_release(folder: Path) -> Release:
    release = Release(folder / "migrations", folder / "functions")
    shutil.copytree(MIGRATIONS, release.migrations)
    shutil.copytree(FUNCTIONS, release.functions)
    (release.functions / "ledger_update_v1.sql").unlink()
    (release.functions / "ledger_update_v2.sql").write_text(NEXT_UPDATE)
    (release.migrations / "9001_before_note.sql").write_text(
        "-- Why a delivery was updated.\nALTER TABLE deliveries ADD COLUMN note text;\n"
    )
    (release.migrations / "9002_after_drop_update_v1.sql").write_text(
        "-- No process calls it any more.\nDROP FUNCTION IF EXISTS ledger_update_v1;\n"
    )
    return release
