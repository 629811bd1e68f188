"""The errors that mean "the database is unavailable" to callers that wait and try again."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from storage.conflicts import CONFLICT
from storage.group import LedgerError, LedgerUnavailable
from storage.postgres import UNREACHABLE

DATABASE_UNAVAILABLE: tuple[type[Exception], ...] = (LedgerError, *UNREACHABLE, asyncpg.PostgresError)


@contextmanager
def outages_as_ledger_errors() -> Generator[None]:
    """Raise LedgerUnavailable for an outage during the statements of this block, each its own transaction."""
    try:
        yield
    except (*UNREACHABLE, *CONFLICT, asyncpg.OperatorInterventionError) as error:
        raise LedgerUnavailable(f"no answer from Postgres ({type(error).__name__})") from error
