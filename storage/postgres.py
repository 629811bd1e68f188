"""Connections to Postgres, and the named statements of storage/sql/."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

SQL = Path(__file__).with_name("sql")

if TYPE_CHECKING:
    Connection: TypeAlias = (
        asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
    )
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    # asyncpg's classes are generic in its stubs only.
    Connection, Pool = asyncpg.Connection, asyncpg.Pool

UNREACHABLE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
    asyncpg.QueryCanceledError,
)
"""What a statement outside of a group raises when the database cannot be reached, or not in time."""

NOT_STORABLE: tuple[type[Exception], ...] = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a statement raises for a value that Postgres cannot hold. Their messages may repeat the value."""


@cache
def statement(name: str) -> str:
    """The text of storage/sql/`name`.sql."""
    return SQL.joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def call(function: str, arguments: int) -> str:
    """The statement that calls a function of storage/functions/ with so many arguments."""
    return f"SELECT * FROM {function}({', '.join(f'${no}' for no in range(1, arguments + 1))})"  # noqa: S608 (names of ours)


def _dump(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_dump, decoder=json.loads, schema="pg_catalog")


_SESSION = {
    "application_name": "herald",
    "timezone": "UTC",
    "jit": "off",
    # A plan is kept for as long as its connection, until the tables are analysed: one that was made while
    # a table or a new month's partition was empty would go on reading it whole as it fills.
    "enable_seqscan": "off",
    # It would gather and sort everything that is due before claiming the first few; an index has the order.
    "enable_bitmapscan": "off",
    # Planned once for any arguments. Else Postgres plans each call anew over every month's partition, for a
    # plan that knows the month looks cheaper: that was four fifths of a single write's time at twelve months.
    "plan_cache_mode": "force_generic_plan",
    # A relay that was stopped in the middle of its transaction holds up its notifications no longer than so.
    "idle_in_transaction_session_timeout": "10s",
}


async def _nothing_to_reset(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """No statement of ours leaves anything behind in its session: the usual RESET would be a second round
    trip for every write.
    """


async def open_pool(database_url: str, *, size_max: int = 10, command_timeout_s: float = 15) -> Pool:
    """A pool of connections. Raises OSError or asyncpg.PostgresError when the database cannot be reached."""
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=size_max,
        command_timeout=command_timeout_s,
        timeout=5,
        init=_prepare,
        server_settings=_SESSION,
        reset=_nothing_to_reset,
    )
