"""Numbered, forward-only migrations: storage/migrations/NNNN_name.sql, each run once, in order.

The functions in storage/functions are made anew by every run: their newest text holds.
"""

from pathlib import Path

import asyncpg

MIGRATIONS = Path(__file__).with_name("migrations")
FUNCTIONS = Path(__file__).with_name("functions")


async def migrate(database_url: str) -> list[str]:
    """Bring the database up to date; returns the names of the migrations that this call ran.

    Safe to run twice and from several processes at once: an advisory lock admits one at a time, and
    each migration commits together with the record that it ran.
    """
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('herald/migrate'))")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, ran_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
        ran: list[str] = []
        for path in sorted(MIGRATIONS.glob("*.sql")):
            if path.stem in done:
                continue
            async with connection.transaction():
                await connection.execute(path.read_text(encoding="utf-8"))
                await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", path.stem)
            ran.append(path.stem)
        async with connection.transaction():
            for path in sorted(FUNCTIONS.glob("*.sql")):
                await connection.execute(path.read_text(encoding="utf-8"))
        return ran
    finally:
        await connection.close()
