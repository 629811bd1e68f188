"""Migrates a database to this release's schema, in two phases around the replacement of the processes.

- Before: what the new release needs and the previous release's processes tolerate. Migrations
  `NNNN_before_name.sql`, then the new functions.
- After, once no process of the previous release runs: what it still used. Migrations `NNNN_after_name.sql`.

Migrations run once each, in the order of their numbers. Functions carry a version in their name
(storage/functions/ledger_close_v1.sql) and are created once: processes of two releases run side by side, and
each calls the functions that it was written for. A changed function is a new one; an after migration of the
release that no longer calls the old one drops it.
"""

import hashlib
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncpg

from storage.statements import FUNCTIONS, statement

MIGRATIONS = Path(__file__).with_name("migrations")
MONTHS_AHEAD = 3
LOCK_WAIT_S = 5.0
"""How long a step waits for a lock, in seconds: meanwhile, later queries of the table wait behind it."""
_NUMBERED = re.compile(r"(?P<number>\d{4})_(?P<phase>before|after)_\w+")


class Phase(StrEnum):
    """When a step runs: before the processes are replaced, or after."""

    BEFORE = "before"
    AFTER = "after"


class SchemaError(Exception):
    """The database cannot be brought to this release's schema. The message says why, and what to do."""


class MigrationChanged(SchemaError):
    """A migration or function ran on this database with another text than it has now."""


class WrongPhase(SchemaError):
    """Steps of an earlier phase have not run yet."""


class StepFailed(SchemaError):
    """Postgres refused a migration or function. Earlier steps stay; the next run begins with this one."""


@dataclass(frozen=True, slots=True)
class Release:
    """The directories of a release's migrations and functions."""

    migrations: Path = MIGRATIONS
    functions: Path = FUNCTIONS


@dataclass(frozen=True, slots=True)
class Step:
    """A migration or function: what to run once, and when."""

    name: str
    phase: Phase
    text: str

    @property
    def is_migration(self) -> bool:
        """Whether it is a migration; otherwise it is a function."""
        return _NUMBERED.fullmatch(self.name) is not None

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, which shows whether the text has changed since it ran."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def steps(release: Release) -> list[Step]:
    """A release's steps in order: functions come after the last before migration."""
    migrations = [_migration(path) for path in sorted(release.migrations.glob("*.sql"))]
    before = max((count for count, one in enumerate(migrations, 1) if one.phase is Phase.BEFORE), default=0)
    return [*migrations[:before], *_functions(release.functions), *migrations[before:]]


async def migrate(
    database_url: str, phases: Sequence[Phase] = tuple(Phase), release: Release | None = None
) -> list[str]:
    """Run what has not run yet of these phases; returns the names of the steps that this call ran.

    A new database has no processes to wait for: every step runs, whatever the phases. Safe to run twice and
    from several processes at once: an advisory lock admits one at a time, and each step commits together with
    the record that it ran. Raises SchemaError; MigrationChanged and WrongPhase before anything is changed.
    """
    async with _locked(database_url) as connection:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, digest text NOT NULL, ran_at timestamptz NOT NULL DEFAULT now())"
        )
        pending = _pending(steps(release or Release()), await _done(connection), phases)
        for step in pending:
            await _run(connection, step)
        if Phase.BEFORE in phases or any(step.phase is Phase.BEFORE for step in pending):
            await connection.execute(statement("ensure_partitions"), MONTHS_AHEAD)
        return [step.name for step in pending]


async def pending_steps(
    database_url: str, phases: Sequence[Phase] = tuple(Phase), release: Release | None = None
) -> list[Step]:
    """The steps that `migrate` would run now. Changes nothing; raises the same errors as `migrate`."""
    async with _locked(database_url) as connection:
        return _pending(steps(release or Release()), await _done(connection), phases)


@asynccontextmanager
async def _locked(database_url: str) -> "AsyncGenerator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('herald/migrate'))")
        yield connection
    finally:
        await connection.close()


async def _done(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """The digests of the steps that ran, by name."""
    if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        return {}
    return {row["name"]: row["digest"] for row in await connection.fetch("SELECT * FROM schema_migrations")}


def _pending(all_steps: Sequence[Step], done: Mapping[str, str], phases: Sequence[Phase]) -> list[Step]:
    for step in all_steps:
        if step.name in done and done[step.name] != step.digest:
            raise MigrationChanged(_changed(step))
    _check_not_newer({step.name for step in all_steps}, done)
    waiting = [step for step in all_steps if step.name not in done]
    if not done or set(phases) == set(Phase):
        return waiting
    last = max((count for count, step in enumerate(waiting, 1) if step.phase is Phase.BEFORE), default=0)
    if Phase.BEFORE not in phases:
        if last:
            raise WrongPhase(
                f"{waiting[0].name} has not run yet: run `herald migrate --before`, replace the processes, "
                "then run `herald migrate --after`."
            )
        return waiting
    if early := [step.name for step in waiting[:last] if step.phase is Phase.AFTER]:
        raise WrongPhase(
            f"{early[0]} belongs to an earlier release and has not run yet. Run `herald migrate --after` of "
            "that release first; or stop every process and run `herald migrate`."
        )
    return waiting[:last]


def _changed(step: Step) -> str:
    if step.is_migration:
        return (
            f"Migration {step.name} ran on this database with another text: another version of Herald made "
            "the database. Use that version, or a new database (`herald dev --fresh`)."
        )
    return (
        f"Function {step.name} was created in this database with another text. Running processes call it, so "
        "it must not change: add a new version of it instead. In development, make a new database "
        "(`herald dev --fresh`)."
    )


def _check_not_newer(known: set[str], done: Mapping[str, str]) -> None:
    """Raise MigrationChanged for another release's steps, except those of a newer release's before phase."""
    for name in sorted(done.keys() - known):
        numbered = _NUMBERED.fullmatch(name)
        if name[:4].isdigit() and (numbered is None or numbered["phase"] == Phase.AFTER):
            raise MigrationChanged(
                f"Migration {name} ran on this database and is not part of this version of Herald. Use the "
                "version that ran it, or a new database (`herald dev --fresh`)."
            )


async def _run(connection: "asyncpg.Connection[asyncpg.Record]", step: Step) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {round(LOCK_WAIT_S * 1000)}")
            await connection.execute(step.text)
            await connection.execute(
                "INSERT INTO schema_migrations (name, digest) VALUES ($1, $2)", step.name, step.digest
            )
    except asyncpg.PostgresError as error:
        kind = "Migration" if step.is_migration else "Function"
        raise StepFailed(
            f"{kind} {step.name} failed ({type(error).__name__}: {error}). Nothing of it was applied. "
            "Fix the cause and run `herald migrate` again: it begins with this step."
        ) from error


def _migration(path: Path) -> Step:
    named = _NUMBERED.fullmatch(path.stem)
    if named is None:
        raise SchemaError(f"{path.name}: a migration is called NNNN_before_name.sql or NNNN_after_name.sql")
    return Step(path.stem, Phase(named["phase"]), path.read_text(encoding="utf-8"))


def _functions(folder: Path) -> list[Step]:
    """Functions and row types, each after those that it refers to."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))}
    ordered: dict[str, Step] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise SchemaError(
                f"These functions refer to each other: {', '.join(above)}. Remove one of the references."
            )
        code = re.sub(r"--.*", "", texts[name])
        for other in texts:
            if other != name and other not in ordered and re.search(rf"\b{other}\b", code):
                add(other, (*above, name))
        ordered.setdefault(name, Step(name, Phase.BEFORE, texts[name]))

    for name in texts:
        add(name, ())
    return list(ordered.values())
