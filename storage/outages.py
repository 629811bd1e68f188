"""The errors that mean "the database is unavailable" to callers that wait and try again."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from storage.conflicts import CONFLICT
from storage.group import LedgerError, LedgerUnavailable
from storage.postgres import UNREACHABLE, Pool

DATABASE_UNAVAILABLE: tuple[type[Exception], ...] = (LedgerError, *UNREACHABLE, asyncpg.PostgresError)


@contextmanager
def outages_as_ledger_errors() -> Generator[None]:
    """Raise LedgerUnavailable for an outage during the statements of this block, each its own transaction."""
    try:
        yield
    except (*UNREACHABLE, *CONFLICT) as error:
        raise LedgerUnavailable(f"no answer from Postgres ({type(error).__name__})") from error


async def ask(pool: Pool, query: str, *arguments: object) -> "list[asyncpg.Record]":
    """The rows of one statement outside a group, for statements that may be repeated.

    Raises LedgerUnavailable when Postgres does not answer.
    """
    with outages_as_ledger_errors():
        async with pool.acquire(timeout=5) as connection:
            return await connection.fetch(query, *arguments)
