"""Lost connections, and a server that refuses: which error the caller gets, and what was written."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
import pytest_asyncio
from proxy import Loss, Proxy, proxied
from waiting import until

from storage.group import CommitUnknown, GroupCommit, LedgerUnavailable
from storage.postgres import UNREACHABLE, Connection, Pool, open_pool

Row = tuple[int, str]


async def _in_transaction(connection: Connection, rows: Sequence[Row]) -> list[int]:
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO marks SELECT * FROM unnest($1::integer[], $2::text[])",
            [id for id, _ in rows],
            [text for _, text in rows],
        )
    return [id for id, _ in rows]


def _group(pool: Pool, flush: object = _in_transaction) -> GroupCommit[Row, int]:
    return GroupCommit("marks", pool, flush, key=lambda row: row[0])


@pytest_asyncio.fixture(scope="module")
async def direct(database: str) -> AsyncIterator[Pool]:
    """Connections that do not go through the proxy."""
    pool = await open_pool(database, size_max=3)
    await pool.execute("CREATE TABLE marks (id integer PRIMARY KEY, text text)")
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def through(direct: Pool, database: str) -> AsyncIterator[tuple[Proxy, Pool]]:
    """A proxy, and connections through it."""
    await direct.execute("TRUNCATE marks")
    async with proxied(database) as (proxy, url):
        pool = await open_pool(url, size_max=2, command_timeout_s=5)
        # asyncpg looks types up once per connection: the proxy must act on the test's statement instead.
        assert await _group(pool).submit((0, "warm")) == 0
        yield proxy, pool
        pool.terminate()


async def _written(pool: Pool) -> list[int]:
    return [row["id"] for row in await pool.fetch("SELECT id FROM marks WHERE id > 0 ORDER BY id")]


async def test_a_connection_lost_after_the_commit_leaves_the_result_unknown(
    through: tuple[Proxy, Pool], direct: Pool
) -> None:
    proxy, pool = through
    proxy.lose(b"COMMIT", Loss.AFTER)
    with pytest.raises(CommitUnknown):
        await _group(pool).submit((1, "a"))
    assert await _written(direct) == [1]


async def test_a_connection_lost_before_the_commit_leaves_the_result_unknown(
    through: tuple[Proxy, Pool], direct: Pool
) -> None:
    proxy, pool = through
    proxy.lose(b"COMMIT", Loss.BEFORE)
    with pytest.raises(CommitUnknown):
        await _group(pool).submit((1, "a"))
    assert await _written(direct) == []


async def test_a_write_is_never_retried_after_a_loss(through: tuple[Proxy, Pool], direct: Pool) -> None:
    proxy, pool = through
    group = _group(pool)
    proxy.lose(b"COMMIT", Loss.AFTER)
    answers = await asyncio.gather(*(group.submit((id, "a")) for id in (1, 2, 3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {CommitUnknown}
    assert proxy.lost == 1
    assert await _written(direct) == [1, 2, 3]
    assert await group.submit((4, "b")) == 4


async def test_nothing_is_sent_after_the_commit(through: tuple[Proxy, Pool], direct: Pool) -> None:
    # A pool sends this by default when a connection is released.
    proxy, pool = through
    proxy.lose(b"RESET ALL", Loss.BEFORE)
    group = _group(pool)
    assert await group.submit((1, "a")) == 1
    assert await group.submit((2, "b")) == 2
    assert proxy.lost == 0
    assert await _written(direct) == [1, 2]


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(30)", "COMMIT"])
async def test_a_terminated_session_leaves_the_result_unknown(direct: Pool, statement: str) -> None:
    await direct.execute("TRUNCATE marks")

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        pid = connection.get_server_pid()
        transaction = connection.transaction()
        await transaction.start()
        if statement == "COMMIT":
            await direct.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await transaction.commit()
        sleeping = asyncio.create_task(connection.execute(statement))
        await until(
            lambda: direct.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'", pid
            )
        )
        await direct.execute("SELECT pg_terminate_backend($1)", pid)
        try:
            await sleeping
        finally:
            with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                await transaction.rollback()
        return [id for id, _ in rows]

    with pytest.raises(CommitUnknown):
        await _group(direct, flush).submit((1, "a"))
    assert await _group(direct).submit((2, "b")) == 2


async def test_a_session_terminated_after_the_commit_undoes_nothing(direct: Pool) -> None:
    await direct.execute("TRUNCATE marks")

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        written = await _in_transaction(connection, rows)
        await direct.execute("SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid())
        return written

    assert await _group(direct, flush).submit((1, "a")) == 1


async def test_a_cancelled_statement_has_written_nothing(direct: Pool) -> None:
    await direct.execute("TRUNCATE marks")

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        async with connection.transaction():
            await _in_transaction(connection, rows)
            await connection.execute("SET LOCAL statement_timeout = '10ms'")
            await connection.execute("SELECT pg_sleep(30)")
        return [id for id, _ in rows]

    with pytest.raises(LedgerUnavailable):
        await _group(direct, flush).submit((1, "a"))
    assert await _written(direct) == []


async def test_a_missing_answer_leaves_the_result_unknown(direct: Pool, database: str) -> None:
    pool = await open_pool(database, size_max=1, command_timeout_s=0.05)
    try:

        async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
            return await connection.fetchval("SELECT pg_sleep(30)")

        with pytest.raises(CommitUnknown):
            await _group(pool, flush).submit((1, "a"))
    finally:
        pool.terminate()


async def test_an_absent_server_has_written_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pool = await open_pool(f"postgresql://herald@127.0.0.1:{unused.getsockname()[1]}/none")
    with pytest.raises(LedgerUnavailable):
        await _group(pool).submit((1, "a"))
    await pool.close()


async def test_an_absent_database_has_written_nothing(database: str) -> None:
    pool = await open_pool(f"{database}_gone")
    with pytest.raises(LedgerUnavailable):
        await _group(pool).submit((1, "a"))
    await pool.close()


async def test_a_read_only_server_has_written_nothing(direct: Pool) -> None:
    """A standby is read-only during a failover."""

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        async with connection.transaction(readonly=True):
            return await _in_transaction(connection, rows)

    with pytest.raises(LedgerUnavailable):
        await _group(direct, flush).submit((1, "a"))


UNKNOWN = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    asyncpg.ProtocolError,
    ConnectionResetError,
    TimeoutError,
)
REFUSED = (
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresIOError,
)


@pytest.mark.parametrize(
    ("error", "raised"),
    [*((error, CommitUnknown) for error in UNKNOWN), *((error, LedgerUnavailable) for error in REFUSED)],
)
async def test_each_error_means_either_unknown_or_unavailable(
    direct: Pool, error: type[Exception], raised: type[Exception]
) -> None:
    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        raise error("from the server or its client")

    with pytest.raises(raised) as caught:
        await _group(direct, flush).submit((1, "a"))
    assert isinstance(caught.value.__cause__, error)


async def test_the_group_works_again_once_the_server_is_back(
    through: tuple[Proxy, Pool], direct: Pool
) -> None:
    proxy, pool = through
    group = _group(pool)
    proxy.cut()
    async with asyncio.timeout(60):
        while True:
            # The first writes may fail in either way; the group must recover.
            with contextlib.suppress(CommitUnknown, LedgerUnavailable):
                assert await group.submit((1, "a")) == 1
                break
    assert await _written(direct) == [1]


async def test_the_server_ends_a_session_that_is_idle_in_a_transaction(direct: Pool, database: str) -> None:
    setting = "idle_in_transaction_session_timeout"
    pool = await open_pool(database, size_max=1)
    assert await pool.fetchval(f"SHOW {setting}") == "10s"
    connection = await pool.acquire()
    pid = connection.get_server_pid()
    await connection.execute(f"SET {setting} = '50ms'")
    await connection.execute("BEGIN")
    await until(lambda: direct.fetchval("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1", pid))
    pool.terminate()


@pytest.mark.parametrize(
    "code",
    ["admin_shutdown", "crash_shutdown", "cannot_connect_now", "query_canceled", "idle_session_timeout"],
)
async def test_a_server_that_stops_is_an_outage(direct: Pool, code: str) -> None:
    with pytest.raises(UNREACHABLE):
        await direct.execute(f"DO $$ BEGIN RAISE EXCEPTION 'stop' USING ERRCODE = '{code}'; END $$")
