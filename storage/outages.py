"""The errors that mean "the database is unavailable" to loops that wait and try again."""

import asyncpg

from storage.group import LedgerError
from storage.postgres import UNREACHABLE

DATABASE_UNAVAILABLE: tuple[type[Exception], ...] = (LedgerError, *UNREACHABLE, asyncpg.PostgresError)
