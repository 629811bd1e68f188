"""Group commit, over a test table: each caller gets its own result, whatever happens to the others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from waiting import until

from storage.group import FLUSH_ROWS, CommitUnknown, Flush, GroupCommit, LedgerUnavailable, QueueFull
from storage.postgres import Connection, Pool, open_pool

ROW = """WITH written AS (
    INSERT INTO marks SELECT * FROM unnest($1::integer[], $2::text[]) RETURNING id
) SELECT id FROM written ORDER BY id"""

Row = tuple[int, str]


async def _insert(connection: Connection, rows: Sequence[Row]) -> list[int]:
    found = await connection.fetch(ROW, [row[0] for row in rows], [row[1] for row in rows])
    return [row["id"] for row in found]


class Gate:
    """A flush that waits until it is opened, and records the groups that it got."""

    def __init__(self, flush: Flush[Row, int] = _insert) -> None:
        self.groups: list[list[Row]] = []
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self._flush = flush

    async def __call__(self, connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        self.groups.append(list(rows))
        self.entered.set()
        await self.open.wait()
        return await self._flush(connection, rows)


def _group(pool: Pool, flush: Flush[Row, int] = _insert, **limits: Any) -> GroupCommit[Row, int]:
    return GroupCommit("marks", pool, flush, key=lambda row: row[0], **limits)


@pytest_asyncio.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, size_max=6)
    await pool.execute("CREATE TABLE marks (id integer PRIMARY KEY, text text CHECK (length(text) < 20))")
    yield pool
    # Not closed: that would wait for ever for a group that a failed test left waiting at its gate.
    pool.terminate()


@pytest_asyncio.fixture(autouse=True)
async def _empty(pool: Pool) -> None:
    await pool.execute("TRUNCATE marks")


async def _written(pool: Pool) -> list[int]:
    return [row["id"] for row in await pool.fetch("SELECT id FROM marks ORDER BY id")]


async def test_rows_that_gather_during_a_write_form_the_next_group_in_key_order(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate)
    first = asyncio.create_task(group.submit((1, "a")))
    await gate.entered.wait()
    others = [asyncio.create_task(group.submit((id, "b"))) for id in (9, 3, 7)]
    await asyncio.sleep(0)
    gate.open.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [9, 3, 7]
    assert gate.groups == [[(1, "a")], [(3, "b"), (7, "b"), (9, "b")]]


async def test_a_group_has_a_maximum_size(pool: Pool) -> None:
    gate = Gate()
    gate.open.set()
    group = _group(pool, gate, rows_max=4)
    assert await asyncio.gather(*(group.submit((id, "a")) for id in range(10))) == list(range(10))
    assert [len(rows) for rows in gate.groups] == [4, 4, 2]


async def test_with_linger_a_single_row_is_written_at_once_and_later_ones_gather(pool: Pool) -> None:
    gate = Gate()
    gate.open.set()
    group = _group(pool, gate, linger_s=60)
    assert await group.submit((0, "alone")) == 0
    gathering = [asyncio.create_task(group.submit((id, "with others"))) for id in range(1, FLUSH_ROWS)]
    await asyncio.sleep(0)
    assert await _written(pool) == [0]
    last = asyncio.create_task(group.submit((FLUSH_ROWS, "one more")))
    async with asyncio.timeout(60):
        assert await asyncio.gather(*gathering, last) == list(range(1, FLUSH_ROWS + 1))
    assert [len(rows) for rows in gate.groups] == [1, FLUSH_ROWS]


async def test_nothing_gathers_while_it_is_urgent(pool: Pool) -> None:
    group = _group(pool, linger_s=60, urgent=lambda: True)
    async with asyncio.timeout(30):
        assert [await group.submit((id, "a")) for id in range(3)] == [0, 1, 2]


async def test_linger_ends_after_its_time_and_does_not_delay_closing(pool: Pool) -> None:
    group = _group(pool, linger_s=0.01)
    async with asyncio.timeout(60):
        assert [await group.submit((id, "a")) for id in range(3)] == [0, 1, 2]
    slow = _group(pool, linger_s=60)
    await slow.submit((3, "a"))
    waiting = asyncio.create_task(slow.submit((4, "b")))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await slow.close(5)
        assert await waiting == 4


async def test_only_bad_rows_fail(pool: Pool) -> None:
    await pool.execute("INSERT INTO marks VALUES (5, 'here already')")
    rows: list[Any] = [(id, "good") for id in range(20)]
    rows[11], rows[12], rows[17] = (11, "\0"), (12, "longer than the table takes"), (17, object())
    group = _group(pool)
    answers = await asyncio.gather(*(group.submit(row) for row in rows), return_exceptions=True)
    failed = {id: type(answer) for id, answer in enumerate(answers) if isinstance(answer, BaseException)}
    assert failed == {
        5: asyncpg.UniqueViolationError,
        11: asyncpg.CharacterNotInRepertoireError,
        12: asyncpg.CheckViolationError,
        17: asyncpg.DataError,
    }
    assert [answer for answer in answers if isinstance(answer, int)] == [
        id for id in range(20) if id not in failed
    ]
    assert await _written(pool) == sorted({*range(20)} - {11, 12, 17})


async def test_only_the_row_that_breaks_the_flush_fails(pool: Pool) -> None:
    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        if any(text == "poison" for _, text in rows):
            raise KeyError("an unknown value")
        return await _insert(connection, rows)

    group = _group(pool, flush)
    answers = await asyncio.gather(
        *(group.submit((id, "poison" if id == 3 else "good")) for id in range(9)), return_exceptions=True
    )
    assert isinstance(answers.pop(3), KeyError)
    assert answers == [0, 1, 2, 4, 5, 6, 7, 8]


async def test_errors_about_a_value_do_not_repeat_it(pool: Pool) -> None:
    secret = "+2348031230000 is 21 characters"
    for row in ((1, secret), (1, secret + "\0"), (secret, "x")):
        with pytest.raises((asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)) as caught:
            await _group(pool).submit(row)  # pyright: ignore[reportArgumentType] (that is the point)
        text = f"{caught.value!r} {caught.value} {caught.value.__cause__} {caught.value.__context__}"
        assert secret not in text
        assert getattr(caught.value, "detail", None) is None


async def test_an_error_that_no_row_causes_is_raised_to_every_caller(pool: Pool) -> None:
    tries = 0

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        nonlocal tries
        tries += 1
        return await connection.fetchval("SELECT * FROM no_such_table")

    group = _group(pool, flush)
    answers = await asyncio.gather(*(group.submit((id, "")) for id in range(8)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {asyncpg.UndefinedTableError}
    assert tries == 1


async def test_the_row_of_a_caller_cancelled_before_it_was_taken_is_not_written(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate)
    first = asyncio.create_task(group.submit((1, "a")))
    await gate.entered.wait()
    cancelled, waiting = (asyncio.create_task(group.submit((id, "b"))) for id in (2, 3))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    gate.open.set()
    assert await asyncio.gather(first, waiting) == [1, 3]
    assert cancelled.cancelled()
    assert await _written(pool) == [1, 3]


async def test_a_caller_cancelled_during_the_write_does_not_affect_others(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate)
    both = [asyncio.create_task(group.submit((id, "a"))) for id in (1, 2)]
    await gate.entered.wait()
    both[0].cancel()
    await asyncio.wait([both[0]])
    gate.open.set()
    assert await both[1] == 2
    assert await _written(pool) == [1, 2]
    assert await group.submit((3, "a")) == 3


async def test_a_cancelled_flusher_leaves_no_caller_waiting(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate)
    taken = asyncio.create_task(group.submit((1, "a")))
    await gate.entered.wait()
    waiting = asyncio.create_task(group.submit((2, "b")))
    await asyncio.sleep(0)
    (flusher,) = (task for task in asyncio.all_tasks() if task.get_name() == "group marks")
    flusher.cancel()
    gate.open.set()
    with pytest.raises(CommitUnknown):
        await taken
    assert await asyncio.wait_for(waiting, timeout=60) == 2


async def test_a_flush_that_returns_too_few_results_leaves_no_caller_waiting(pool: Pool) -> None:
    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        return (await _insert(connection, rows))[:-1]

    group = _group(pool, flush)
    answers = await asyncio.gather(*(group.submit((id, "a")) for id in range(3)), return_exceptions=True)
    assert isinstance(answers[-1], CommitUnknown)


async def test_a_row_without_a_key_fails_its_caller_only(pool: Pool) -> None:
    group = _group(pool)
    bad: Any = None
    answers = await asyncio.gather(group.submit(bad), group.submit((1, "a")), return_exceptions=True)
    assert isinstance(answers[0], TypeError)
    assert answers[1] == 1


async def test_rows_beyond_the_limit_are_refused_and_not_written(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate, waiting_max=2)
    first = asyncio.create_task(group.submit((1, "a")))
    await gate.entered.wait()
    waiting = [asyncio.create_task(group.submit((id, "b"))) for id in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await asyncio.wait_for(group.submit((4, "c")), timeout=60)
    gate.open.set()
    assert await asyncio.gather(first, *waiting) == [1, 2, 3]
    assert await group.submit((5, "d")) == 5
    assert await _written(pool) == [1, 2, 3, 5]


async def test_closing_writes_accepted_rows_and_refuses_new_ones(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate, rows_max=1)
    tasks = [asyncio.create_task(group.submit((id, "a"))) for id in range(4)]
    await gate.entered.wait()
    closing = asyncio.create_task(group.close(timeout_s=5))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await asyncio.wait_for(group.submit((9, "late")), timeout=60)
    with pytest.raises(QueueFull):
        await group.submit_together([(9, "late")])
    assert not closing.done()
    gate.open.set()
    await closing
    assert all(task.done() for task in tasks)
    assert await _written(pool) == [0, 1, 2, 3]


async def test_closing_works_after_the_flusher_is_cancelled(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate, rows_max=1)
    taken, waiting = (asyncio.create_task(group.submit((id, "a"))) for id in (1, 2))
    await gate.entered.wait()
    closing = asyncio.create_task(group.close(timeout_s=5))
    (flusher,) = (task for task in asyncio.all_tasks() if task.get_name() == "group marks")
    flusher.cancel()
    gate.open.set()
    await closing
    assert waiting.done()
    assert isinstance(taken.exception(), CommitUnknown)
    assert await _written(pool) == [2]


async def test_closing_stops_waiting_after_its_timeout(pool: Pool) -> None:
    gate = Gate()
    group = _group(pool, gate)
    task = asyncio.create_task(group.submit((1, "a")))
    await gate.entered.wait()
    await asyncio.wait_for(group.close(timeout_s=0.01), timeout=60)
    assert not task.done()
    gate.open.set()
    assert await task == 1


async def test_submit_together_writes_all_rows_or_none_with_results_in_order(pool: Pool) -> None:
    group = _group(pool)
    assert await group.submit_together([(3, "a"), (1, "b"), (2, "c")]) == [3, 1, 2]
    with pytest.raises(asyncpg.UniqueViolationError):
        await group.submit_together([(4, "a"), (2, "b")])
    assert await _written(pool) == [1, 2, 3]


async def test_each_write_is_observed(pool: Pool) -> None:
    seen: list[tuple[str, int]] = []
    group = _group(pool, observe=lambda name, rows, seconds: seen.append((name, rows)))
    await asyncio.gather(*(group.submit((id, "a")) for id in range(3)))
    assert seen == [("marks", 3)]


async def _update(connection: Connection, rows: Sequence[Row]) -> list[int]:
    # Row by row, so that the order of the locks is the order of the rows.
    async with connection.transaction():
        for id, text in rows:
            await connection.execute("UPDATE marks SET text = $2 WHERE id = $1", id, text)
    return [id for id, _ in rows]


async def test_groups_that_overlap_in_any_order_never_deadlock(pool: Pool, database: str) -> None:
    await pool.execute("INSERT INTO marks SELECT n, '' FROM generate_series(0, 39) n")
    # Postgres looks for a deadlock only after an hour, so one would time this test out.
    pools = [await open_pool(f"{database}?deadlock_timeout=1h", size_max=2) for _ in range(2)]
    try:
        assert await pools[0].fetchval("SHOW deadlock_timeout") == "1h"
        groups = [_group(each, _update) for each in pools * 2]
        ids = [
            range(40),
            range(39, -1, -1),
            [*range(20, 40), *range(20)],
            [*range(1, 40, 2), *range(0, 40, 2)],
        ]
        async with asyncio.timeout(60):
            for _ in range(3):
                await asyncio.gather(
                    *(
                        group.submit((id, "x"))
                        for group, order in zip(groups, ids, strict=True)
                        for id in order
                    )
                )
    finally:
        for each in pools:
            await each.close()


async def test_a_deadlock_is_retried(pool: Pool, database: str) -> None:
    """Another program causes it, by locking in the opposite order."""
    await pool.execute("INSERT INTO marks VALUES (1, ''), (2, '')")
    tries = 0
    first_locked, go_on = asyncio.Event(), asyncio.Event()

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        nonlocal tries
        tries += 1
        async with connection.transaction():
            await connection.execute("SET LOCAL deadlock_timeout = '10ms'")
            await connection.execute("UPDATE marks SET text = 'ours' WHERE id = 1")
            first_locked.set()
            await go_on.wait()
            await connection.execute("UPDATE marks SET text = 'ours' WHERE id = 2")
        return [id for id, _ in rows]

    task = asyncio.create_task(_group(pool, flush).submit((1, "")))
    await first_locked.wait()
    async with pool.acquire() as other, other.transaction():
        await other.execute("SET LOCAL deadlock_timeout = '1min'")
        await other.execute("UPDATE marks SET text = 'theirs' WHERE id = 2")
        blocked = asyncio.create_task(other.execute("UPDATE marks SET text = 'theirs' WHERE id = 1"))
        await until(
            lambda: pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'",
                other.get_server_pid(),
            )
        )
        go_on.set()
        await blocked
    assert await task == 1
    assert tries > 1
    assert [row["text"] for row in await pool.fetch("SELECT text FROM marks")] == ["ours", "ours"]


async def test_a_write_that_always_deadlocks_is_unavailable(pool: Pool) -> None:
    tries = 0

    async def flush(connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        nonlocal tries
        tries += 1
        return await connection.fetchval(
            "DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END $$"
        )

    with pytest.raises(LedgerUnavailable):
        await _group(pool, flush).submit((1, "a"))
    assert tries == 6
