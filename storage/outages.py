"""What counts as "the database is unavailable" for loops that rest a little and try again."""

import asyncpg

from storage.group import LedgerError
from storage.postgres import UNREACHABLE

DATABASE_UNAVAILABLE: tuple[type[Exception], ...] = (LedgerError, *UNREACHABLE, asyncpg.PostgresError)
