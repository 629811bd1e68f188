"""Connections to Postgres."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from storage.statements import row_types, statement

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


def _dump(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_dump, decoder=json.loads, schema="pg_catalog")
    # asyncpg asks the catalogue, for some 15 ms, whenever a statement brings a type that is new to its
    # connection. Here it meets all of ours at once; of a database that is not migrated yet, later.
    with suppress(asyncpg.UndefinedObjectError):
        types = ", ".join(f"NULL::{name}[]" for name in row_types())
        await connection.prepare(f"SELECT NULL::status, {types}", timeout=5)


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


async def ping(pool: Pool, timeout_s: float) -> None:
    """Ask Postgres for an answer. Raises what UNREACHABLE names when none comes in time."""
    await pool.fetchval(statement("ping"), timeout=timeout_s)


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
