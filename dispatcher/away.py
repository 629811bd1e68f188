"""What the loops of a worker take as "Postgres is away": they rest a little and try again."""

import asyncpg

from storage.group import LedgerError
from storage.postgres import UNREACHABLE

LEDGER_AWAY: tuple[type[Exception], ...] = (LedgerError, *UNREACHABLE, asyncpg.PostgresError)
