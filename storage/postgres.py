"""Connections to Postgres."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from storage.statements import row_types, statement, statements

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
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    # The server starts, stops or restarts, or the statement was cancelled.
    asyncpg.OperatorInterventionError,
)
"""What a statement outside a group raises when the database cannot be reached, or not in time. Whether it was
committed is then unknown."""

NOT_STORABLE: tuple[type[Exception], ...] = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a statement raises for a value that Postgres cannot hold. Their messages may repeat the value."""


def _dump(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_dump, decoder=json.loads, schema="pg_catalog")
    # asyncpg queries the catalogue, for some 15 ms, whenever a statement uses a type that is new to its
    # connection. This registers all of our types at once, or later if the database is not migrated yet.
    with suppress(asyncpg.UndefinedObjectError):
        types = ", ".join(f"NULL::{name}[]" for name in row_types())
        await connection.prepare(f"SELECT NULL::status, {types}", timeout=5)


_SESSION = {
    "application_name": "herald",
    "timezone": "UTC",
    "jit": "off",
    # A plan is kept until the tables are analysed; a function's as long as its connection, a statement's for
    # five minutes. One that was made while a table or a new month's partition was empty would keep reading
    # it whole as it fills.
    "enable_seqscan": "off",
    # A bitmap scan would gather and sort everything that is due before claiming the first few; an index
    # has the order.
    "enable_bitmapscan": "off",
    # Planned once for any arguments. Otherwise Postgres plans each call again over every month's partition,
    # because a plan that knows the month looks cheaper: that was 80 % of the time of a single write at
    # twelve months.
    "plan_cache_mode": "force_generic_plan",
    # A receipt processor that stalls in the middle of its transaction blocks its notifications for at most
    # this time.
    "idle_in_transaction_session_timeout": "10s",
}


async def ping(pool: Pool, timeout_s: float) -> None:
    """Check that Postgres answers within `timeout_s` seconds; otherwise raises an error of UNREACHABLE."""
    await pool.fetchval(statement("ping"), timeout=timeout_s)


async def _nothing_to_reset(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """None of our statements changes its session, and the usual RESET would be a second round trip for every
    write.
    """


async def open_pool(database_url: str, *, size_max: int = 10, command_timeout_s: float = 15) -> Pool:
    """Open a pool. Raises OSError or asyncpg.PostgresError when the database cannot be reached."""
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=size_max,
        command_timeout=command_timeout_s,
        timeout=5,
        init=_prepare,
        server_settings=_SESSION,
        reset=_nothing_to_reset,
        # Every statement stays prepared, in several forms where conditions are added to it: with asyncpg's
        # usual hundred, a connection that runs them all in turn would plan each one every time.
        statement_cache_size=2 * len(statements()),
    )
