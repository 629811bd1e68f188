"""Numbered, forward-only migrations: storage/migrations/NNNN_name.sql, each run once, in order.

The functions in storage/functions are made anew by every run: their newest text holds.
"""

import hashlib
from pathlib import Path

import asyncpg

MIGRATIONS = Path(__file__).with_name("migrations")
FUNCTIONS = Path(__file__).with_name("functions")


class MigrationChanged(Exception):
    """A migration ran on this database with another text than it has now: the two do not fit."""


async def migrate(database_url: str) -> list[str]:
    """Bring the database up to date; returns the names of the migrations that this call ran.

    Safe to run twice and from several processes at once: an advisory lock admits one at a time, and
    each migration commits together with the record that it ran. Raises MigrationChanged before anything
    is changed after the one that differs.
    """
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('herald/migrate'))")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, digest text NOT NULL, ran_at timestamptz NOT NULL DEFAULT now())"
        )
        known = await connection.fetch("SELECT name, digest FROM schema_migrations")
        done: dict[str, str] = {row["name"]: row["digest"] for row in known}
        ran: list[str] = []
        for path in sorted(MIGRATIONS.glob("*.sql")):
            text = path.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if path.stem in done:
                _check_unchanged(path.stem, digest, done[path.stem])
                continue
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, digest) VALUES ($1, $2)", path.stem, digest
                )
            ran.append(path.stem)
        async with connection.transaction():
            for path in sorted(FUNCTIONS.glob("*.sql")):
                await connection.execute(path.read_text(encoding="utf-8"))
        return ran
    finally:
        await connection.close()


def _check_unchanged(name: str, digest: str, ran: str) -> None:
    if digest != ran:
        raise MigrationChanged(
            f"Migration {name} ran on this database with another text: the database was made by another "
            "version of Herald. Use that version, or a new database (`herald dev --fresh`)."
        )
