"""Group commit: callers await, a flusher takes what has gathered, runs one statement and one commit.

While one group is being written the next one forms, so that a group is as large as the load asks for,
and there is no timer. The rules below were each learnt from a failing run:

- rows are sorted by their key, so that two processes lock in the same order (40P01, 40001 are retried);
- a data error (SQLSTATE 22, 23) bisects the group: one bad row fails alone;
- a caller that was cancelled neither breaks the flusher nor is written if its row was not taken yet;
- a connection lost while a statement ran means that nobody knows: CommitUnknown, and never a retry;
- the queue is bounded: QueueFull before anything is accepted;
- closing waits for what was taken in.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Generic, TypeVar

import asyncpg

from storage.postgres import Connection, Pool

Row = TypeVar("Row")
Result = TypeVar("Result")

Flush = Callable[[Connection, Sequence[Row]], Awaitable[Sequence[Result]]]
Observe = Callable[[str, int, float], None]

_RETRIES_MAX = 5
_SERIALIZATION = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_UNREACHABLE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
# The server refuses before it does anything: out of memory or connections, starting up, shutting down.
_REFUSED = (asyncpg.InsufficientResourcesError, asyncpg.CannotConnectNowError)


class LedgerError(Exception):
    """The ledger could not be written or read."""


class QueueFull(LedgerError):
    """More rows wait than may: nothing was taken in. Try again later."""


class LedgerUnavailable(LedgerError):
    """The database could not be reached: nothing was written. Try again later."""


class CommitUnknown(LedgerError):
    """The connection was lost while the write was under way: it may have been committed or not."""


class Group(Generic[Row, Result]):
    """Gathers rows of one kind and flushes them together.

    `flush` gets a connection and the rows sorted by `key`, and returns one result for each, in that
    order. It must be one atomic unit: a single statement, or a transaction.
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
        observe: Observe | None = None,
    ) -> None:
        self.name = name
        self._pool = pool
        self._flush = flush
        self._key = key
        self._rows_max = rows_max
        self._waiting_max = waiting_max
        self._observe = observe
        self._waiting: deque[tuple[Row, asyncio.Future[Result]]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, row: Row) -> Result:
        """Have the row written with its group. Raises LedgerError, or the row's own data error."""
        if self._closed or len(self._waiting) >= self._waiting_max:
            raise QueueFull(f"{self.name}: {len(self._waiting)} rows wait already; try again later")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        self._ensure_flusher()
        return await future

    async def close(self, timeout_s: float) -> None:
        """Take nothing more in, and wait until everything taken in has been written."""
        self._closed = True
        if self._flusher is not None:
            await asyncio.wait([self._flusher], timeout=timeout_s)

    def _ensure_flusher(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._drain(), name=f"group {self.name}")

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._take()
            try:
                await self._settle(batch)
            except BaseException as error:
                # Whatever happens here, nobody may wait for ever.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(CommitUnknown(f"{self.name}: {type(error).__name__}"))
                if not isinstance(error, Exception):
                    raise

    def _take(self) -> list[tuple[Row, asyncio.Future[Result]]]:
        batch: list[tuple[Row, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._rows_max:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        batch.sort(key=lambda entry: self._key(entry[0]))
        return batch

    async def _settle(self, batch: list[tuple[Row, asyncio.Future[Result]]]) -> None:
        if not batch:
            return
        try:
            results = await self._write([row for row, _ in batch])
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        except Exception as error:
            _fail(batch, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _write(self, rows: Sequence[Row]) -> Sequence[Result]:
        for retry in range(_RETRIES_MAX):
            try:
                return await self._once(rows)
            except _SERIALIZATION:
                if retry == _RETRIES_MAX - 1:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**retry))  # noqa: S311 (spreads retries, no secret)
        raise AssertionError("unreachable")

    async def _once(self, rows: Sequence[Row]) -> Sequence[Result]:
        started = perf_counter()
        try:
            connection = await self._pool.acquire(timeout=5)
        except (*_UNREACHABLE, asyncpg.PostgresError) as error:
            raise LedgerUnavailable(
                f"{self.name}: no connection to Postgres ({type(error).__name__})"
            ) from error
        try:
            results = await self._flush(connection, rows)
        except _REFUSED as error:
            raise LedgerUnavailable(f"{self.name}: Postgres refused ({type(error).__name__})") from error
        except _UNREACHABLE as error:
            raise CommitUnknown(f"{self.name}: the connection was lost ({type(error).__name__})") from error
        finally:
            await self._release(connection)
        if self._observe:
            self._observe(self.name, len(rows), perf_counter() - started)
        return results

    async def _release(self, connection: Any) -> None:
        try:
            await self._pool.release(connection)
        except _UNREACHABLE:
            connection.terminate()


def _fail(batch: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
