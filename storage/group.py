"""Group commit: callers await, a flusher takes the rows that have gathered, in one statement and one commit.

While one group is written the next one forms, so that the size of a group follows the load. Where no caller
waits for a single row, `linger_s` makes groups larger: a row that arrives alone is still written at once, and
every row while `urgent` says so.
Each of these rules prevents a failure that was observed:

- rows are sorted by their key, so that two processes lock in the same order (40P01, 40001 are retried);
- a row's own error (SQLSTATE 22, 23, or a record that cannot be turned into parameters) bisects the
  group: one bad row fails alone;
- a cancelled caller does not break the flusher, and its row is not written if it was not taken yet;
- after a connection is lost while a statement runs, the result is unknown: CommitUnknown, never a retry;
- what happens to the connection after the commit undoes nothing;
- the queue is bounded: QueueFull before anything is accepted;
- the flusher is replaced if it ends while rows wait, and closing waits for the rows that were accepted.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg

from storage.conflicts import CONFLICT, retry_conflicts
from storage.postgres import Connection, Pool

Row = TypeVar("Row")
Result = TypeVar("Result")

Flush = Callable[[Connection, Sequence[Row]], Awaitable[Sequence[Result]]]
Observe = Callable[[str, int, float], None]

FLUSH_ROWS = 32
"""With this many rows waiting, a group does not wait for `linger_s`."""
_ROW_ERROR = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
# A write that ends in one of these may have been committed; one that ends in one of _REFUSED was not.
# storage.postgres.UNREACHABLE makes no such difference: it is for statements that may be repeated.
_CONNECTION_LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    # The session was ended. A COMMIT that waits for a standby may be cut short although it was made here.
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
)
# The server refused or gave up, and reports it: a statement that ends in such an error has written nothing.
_REFUSED = (
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)


class LedgerError(Exception):
    """The ledger could not be written or read."""


class QueueFull(LedgerError):
    """The queue is full or closed: nothing was accepted. Try again later."""


class LedgerUnavailable(LedgerError):
    """The database could not be reached, or refused: nothing was written. Try again later."""


class CommitUnknown(LedgerError):
    """The connection was lost while the write was under way: it may have been committed or not."""


class _Entry(NamedTuple):
    key: Any
    row: Any
    future: "asyncio.Future[Any]"


class GroupCommit(Generic[Row, Result]):
    """Gathers rows of one kind and flushes them together.

    `flush` gets a connection and the rows sorted by `key`, and returns one result for each, in that
    order. It must be atomic: a single statement, or a transaction. When it raises an error that is not
    the database's, it is called again with fewer rows: reads after the write may fail like this.
    """

    def __init__(
        self,
        name: str,
        pool: Pool,
        flush: Flush[Row, Result],
        key: Callable[[Row], Any],
        *,
        rows_max: int = 500,
        waiting_max: int = 20_000,
        linger_s: float = 0.0,
        urgent: Callable[[], bool] = lambda: False,
        observe: Observe | None = None,
    ) -> None:
        """`linger_s`: least time between the starts of two groups, unless FLUSH_ROWS rows wait or `urgent` is
        true.
        """
        self.name = name
        self._pool = pool
        self._flush = flush
        self._key = key
        self._rows_max = rows_max
        self._waiting_max = waiting_max
        self._linger_s = linger_s
        self._urgent = urgent
        self._group_began = float("-inf")
        self._linger_over = asyncio.Event()
        self._observe = observe
        self._waiting: deque[_Entry] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, row: Row) -> Result:
        """Write the row with its group. Raises LedgerError, or the database's error about the row."""
        self._check_open()
        if len(self._waiting) >= self._waiting_max:
            raise QueueFull(f"{self.name}: {len(self._waiting)} rows wait already; try again later")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(self._key(row), row, future))
        if len(self._waiting) >= FLUSH_ROWS:
            self._linger_over.set()
        self._ensure_flusher()
        return await future

    async def submit_together(self, rows: Sequence[Row]) -> list[Result]:
        """Write these rows as a separate group, all or none. Results are in the given order.

        Raises LedgerError, or the database's error about one of the rows.
        """
        self._check_open()
        indexes = sorted(range(len(rows)), key=lambda index: self._key(rows[index]))
        try:
            written = await self._write([rows[index] for index in indexes])
        except _ROW_ERROR as error:
            refused = self._without_values(error)
        else:
            return [result for _, result in sorted(zip(indexes, written, strict=True), key=lambda p: p[0])]
        raise refused

    async def close(self, timeout_s: float) -> None:
        """Accept no more rows, and wait at most `timeout_s` seconds until the accepted ones are written."""
        self._closed = True
        self._linger_over.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._flusher is not None and not self._flusher.done():
                    await asyncio.wait([self._flusher])

    def _check_open(self) -> None:
        if self._closed:
            raise QueueFull(f"{self.name}: closed, this process is stopping; try again elsewhere")

    def _ensure_flusher(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._drain(), name=f"group {self.name}")
            self._flusher.add_done_callback(self._flusher_ended)

    def _flusher_ended(self, _: "asyncio.Task[None]") -> None:
        if any(not entry.future.done() for entry in self._waiting):
            self._ensure_flusher()

    async def _drain(self) -> None:
        while self._waiting:
            if self._linger_s and not self._urgent():
                await self._linger()
            group = self._take()
            try:
                await self._settle(group)
            except BaseException as error:
                # Whatever happens here, no caller may wait for ever.
                _fail(group, CommitUnknown(f"{self.name}: the write was cut short ({type(error).__name__})"))
                if not isinstance(error, Exception):
                    raise

    async def _linger(self) -> None:
        left_s = self._group_began + self._linger_s - perf_counter()
        if left_s > 0 and len(self._waiting) < FLUSH_ROWS and not self._closed:
            self._linger_over.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._linger_over.wait()
        self._group_began = perf_counter()

    def _take(self) -> list[_Entry]:
        group: list[_Entry] = []
        while self._waiting and len(group) < self._rows_max:
            entry = self._waiting.popleft()
            if not entry.future.done():
                group.append(entry)
        group.sort(key=lambda entry: entry.key)
        return group

    async def _settle(self, group: Sequence[_Entry]) -> None:
        if not group:
            return
        try:
            results = await self._write([entry.row for entry in group])
        except Exception as error:
            if not _is_a_rows(error) or len(group) == 1:
                _fail(group, self._without_values(error))
                return
            middle = len(group) // 2
            await self._settle(group[:middle])
            await self._settle(group[middle:])
        else:
            for entry, result in zip(group, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)

    async def _write(self, rows: Sequence[Row]) -> Sequence[Result]:
        try:
            return await retry_conflicts(partial(self._once, rows))
        except CONFLICT as error:
            raise LedgerUnavailable(f"{self.name}: Postgres refused ({type(error).__name__})") from error

    async def _once(self, rows: Sequence[Row]) -> Sequence[Result]:
        started = perf_counter()
        try:
            connection = await self._pool.acquire(timeout=5)
        except (*_CONNECTION_LOST, asyncpg.PostgresError) as error:
            raise LedgerUnavailable(
                f"{self.name}: no connection to Postgres ({type(error).__name__})"
            ) from error
        try:
            results = await self._flush(connection, rows)
        except _REFUSED as error:
            raise LedgerUnavailable(f"{self.name}: Postgres refused ({type(error).__name__})") from error
        except _CONNECTION_LOST as error:
            raise CommitUnknown(f"{self.name}: the connection was lost ({type(error).__name__})") from error
        finally:
            # The pool discards a connection that it cannot reset for reuse; what was written on it stays
            # written.
            with suppress(*_CONNECTION_LOST, asyncpg.PostgresError):
                await self._pool.release(connection)
        if self._observe:
            self._observe(self.name, len(rows), perf_counter() - started)
        return results

    def _without_values(self, error: Exception) -> Exception:
        """The same error, without its message if that would repeat a value: contacts, content."""
        if not isinstance(error, _ROW_ERROR):
            return error
        return type(error)(f"{self.name}: Postgres refused a value of this row (SQLSTATE {error.sqlstate})")


def _is_a_rows(error: Exception) -> bool:
    """Whether one row of the group may be the cause: a bad value, or a record of the wrong shape."""
    return isinstance(error, _ROW_ERROR) or not isinstance(error, (asyncpg.PostgresError, LedgerError))


def _fail(group: Sequence[_Entry], error: Exception) -> None:
    for entry in group:
        if not entry.future.done():
            entry.future.set_exception(error)
