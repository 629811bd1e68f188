"""Every statement finds its rows by indexes, whatever the size of the tables, also with plans that were made
while they were empty or small. The statements of the hot path also do so whatever the size of the group.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from every_statement import FEW, LIVE, LIVE_TOGETHER, PARKED, every_statement
from plans import ROWS, TABLES, TEXTS, Explained, fill, partitions_opened, row_id, wasteful, without_index

from domain.fingerprint import Fingerprint
from domain.notification import Channel, Lane, Strategy
from domain.outcome import Outcome
from domain.status import Status
from domain.transition import Transition
from storage.batch_queue import BatchQueue, HandOver
from storage.ledger import Ledger
from storage.postgres import open_pool
from storage.queries import Filter, Queries
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, Renewal, Submission
from storage.statements import call, statement
from storage.users import Users

HOT = (
    "accept_notifications",
    "find_accepted",
    "find_accepted_by_key",
    "claim_due",
    "claim_batch",
    "find_claimed_messages",
    "hand_over_claims",
    "record_late_outcome",
    "load_notifications",
    "count_indistinguishable_attempts",
)
FUNCTIONS = (
    "due_turns_v1",
    *(f"ledger_{name}_v1" for name in ("advance", "close", "intend", "lock", "refresh", "renew", "update")),
)
GROUPED = tuple(f"ledger_{name}_v1" for name in ("close", "intend", "refresh", "update"))
EXPRESSIONS = ("addresses_v1", "suppression_key_v1", "is_opted_out_v1", "is_suppressed_v1")
"""Functions without a separate plan: Postgres inlines them into the statements that use them."""
NESTED = ("scrub_expired_v1",)
"""Functions whose plans are checked with the statement that calls them."""
APART = ("ensure_partitions_v1",)
"""It reads none of our tables."""


LOOKS_MAX = 1000
LOOKED = LOOKS_MAX + FEW
# Each filter of a list is a separate statement: how many rows it may read for a page of ten.
LISTINGS = {
    "everything": (Filter(), FEW),
    "a user's": (Filter(user_id="user-7"), FEW),
    "a type": (Filter(type="debit_alert"), FEW),
    "a final status": (Filter(status=Status.SENT), FEW),
    "a type without matches": (Filter(type="none"), LOOKED),
    "a final status without matches": (Filter(status=Status.UNDELIVERED), LOOKED),
    "a channel without matches": (Filter(channel=Channel.PUSH), LOOKED),
    "a provider without matches": (Filter(provider="termii"), LOOKED),
    "a channel": (Filter(channel=Channel.SMS), FEW),
    "a provider": (Filter(provider="twilio"), FEW),
    "parked": (Filter(parked=True), FEW),
    "parked, for a reason without matches": (Filter(parked=True, reason_code="none"), PARKED),
    "a parked status": (Filter(status=Status.DEAD_LETTERED), LIVE),
    "a live status": (Filter(status=Status.ACCEPTED), LIVE_TOGETHER),
    "a live status without matches": (Filter(status=Status.SENDING), LIVE),
    "a user's, of a live status": (Filter(user_id="user-7", status=Status.SENDING), FEW),
}


def _submission(number: int) -> Submission:
    return Submission(
        id=row_id("n", number),
        tenant="acme",
        user_id=f"user-{number}",
        type="debit_alert",
        idempotency_key=f"key-{number}",
        fingerprint=Fingerprint(b"x", "k"),
        lane=Lane.NORMAL,
        strategy=Strategy.ALL,
        channels=(Channel.SMS,),
        body="You were debited",
    )


async def _process(ledger: Ledger, numbers: Sequence[int], later: Any) -> int:
    """Run every step of the hot path for all notifications together; returns how many exist."""
    keys = [(row_id("n", number), row_id("d", number)) for number in numbers]
    loaded = await asyncio.gather(*(ledger.load(id) for id, _ in keys))
    await asyncio.gather(
        *(
            ledger.intend(
                Intent(id, delivery, 0, "twilio", 10, 30, "+1", "+1", {}, required=False, match_key=f"k{id}")
            )
            for id, delivery in keys
        )
    )
    await ledger.renew(Renewal(*keys[0], 2, 1, 10, 30, 86_400, "+1", required=False))
    after = Transition(Status.DEFERRED, later, release=True, event="test")
    await asyncio.gather(
        *(
            ledger.close_attempt(
                AttemptOutcome(
                    id, delivery, 2, 1, Outcome.ACCEPTED, after, provider_message_id=f"SM-{uuid4()}"
                )
            )
            for id, delivery in keys
        )
    )
    over = Transition(Status.FAILED, None, event="test")
    await asyncio.gather(*(ledger.update(DeliveryUpdate(id, delivery, 2, over)) for id, delivery in keys))
    await ledger.record_late_outcome(keys[0][1], 2, Outcome.ACCEPTED, f"SM-{uuid4()}")
    await ledger.indistinguishable_attempts("match-1", keys[0][1])
    await ledger.claimed_messages("twilio", [f"SM-{number}" for number in numbers])
    await ledger.claim(Lane.NORMAL, len(keys), 60)
    queue = BatchQueue(ledger.pool)
    claims = await queue.claim(Lane.HIGH, len(keys), 60, uuid4())
    await asyncio.gather(*(queue.hand_over(HandOver(claim, dedicated_workflow=True)) for claim in claims))
    await ledger.accepted([id for id, _ in keys])
    return sum(notification is not None for notification in loaded)


UNPARTITIONED = """
    SELECT format('%I', relname) AS name FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


SIZES = (0, 300, 3000)
"""Of the tables when plans are made that are kept while they fill."""


@asynccontextmanager
async def _filled(
    database: str, sizes: Sequence[int], rows: int, *, analysed: bool
) -> AsyncGenerator[dict[int, Explained]]:
    """Fill a ledger, and yield connections whose plans were made while it was smaller: by its size.
    `analysed`: it was analysed at these sizes, and never again.
    """
    filler = await _without_autovacuum(database)
    pool = await open_pool(database, size_max=len(sizes), command_timeout_s=120)
    connected: dict[int, Explained] = {}
    for before, size in pairwise((0, *sizes)):
        await fill(filler, before + 1, size)
        if analysed:
            await filler.execute("ANALYZE")
        connected[size] = await _planned(await pool.acquire())
    await fill(filler, sizes[-1] + 1, rows)
    await filler.close()
    yield connected
    for explained in connected.values():
        explained.stop()
        await pool.release(explained.connection)
    await pool.close()


@pytest_asyncio.fixture(scope="module")
async def connected_before(database: str) -> AsyncIterator[dict[int, Explained]]:
    """The connections to a ledger that was never analysed, by its size when their plans were made."""
    async with _filled(database, SIZES, ROWS, analysed=False) as connected:
        yield connected


@pytest.fixture
def connected_first(connected_before: dict[int, Explained]) -> Explained:
    """The connection whose plans were made on empty tables."""
    return connected_before[0]


async def _without_autovacuum(database: str) -> Any:
    """A connection to a database in which the tests decide when a table is analysed."""
    connection: Any = await asyncpg.connect(database)
    for table in await connection.fetch(UNPARTITIONED):
        await connection.execute(f"ALTER TABLE {table['name']} SET (autovacuum_enabled = off)")
    return connection


async def _planned(connection: Any) -> Explained:
    """Make the plans of every statement now, without changing anything."""
    explained = Explained(connection)
    await explained.start()
    now = await connection.fetchval("SELECT now()")
    # From the sixth execution on, Postgres may keep a plan.
    for _ in range(8):
        transaction = connection.transaction()
        await transaction.start()
        assert await _process(explained.ledger, range(-2, 1), now) == 0
        await asyncio.gather(*(explained.ledger.accept(_submission(number)) for number in range(-2, 1)))
        await transaction.rollback()
        await connection.execute(call("ledger_advance_v1"), [uuid4()])
        await _wrong_plans(explained, now)
    return explained


def _numbers(first: int, size: int) -> range:
    """Numbers of notifications that wait to be sent: every fifth one."""
    return range(first * 5, (first + size) * 5, 5)


async def _wrong_plans(explained: Explained, now: Any, *, skip_scans: bool = False) -> dict[str, set[str]]:
    """Run every statement and each list; returns what is wrong with their plans, by name."""
    wrong: dict[str, set[str]] = {}
    for name, asked in every_statement(now).items():
        explained.plans()
        transaction = explained.connection.transaction()
        await transaction.start()
        await explained.connection.fetch(statement(name), *asked.arguments)
        await transaction.rollback()
        plans = explained.plans()
        wrong[name] = wasteful(plans, asked.rows_max)
        if not asked.whole:
            wrong[name] |= without_index(plans, skip_scans=skip_scans)
        if name not in plans:
            wrong[name].add("its plan was not logged")
    for name, (matching, rows_max) in LISTINGS.items():
        queries = Queries(explained)  # pyright: ignore[reportArgumentType] (all that it needs)
        await queries.list_page("acme", matching, 10, looks_max=LOOKS_MAX)
        plans = explained.plans()
        wrong[name] = (
            wasteful(plans, rows_max)
            if {"list_notifications", "list_live_notifications"} & plans.keys()
            else {"its plan was not logged"}
        )
        if rows_max == LOOKED and "last_notification_looked_at" not in plans:
            wrong[name].add("it did not query where its page ended")
    users = Users(explained)  # pyright: ignore[reportArgumentType] (all that it needs)
    for channel, address in ((None, None), (Channel.SMS, None), (Channel.SMS, "sms-7")):
        await users.suppressions("acme", channel, address, 10, ("email", "email-7"))
        plans = explained.plans()
        wrong[f"suppressions of {channel}, {address}"] = wasteful(plans, FEW) | without_index(plans)
    return {name: found for name, found in wrong.items() if found}


def test_every_statement_is_checked() -> None:
    now = datetime.now(UTC)
    assert {
        *HOT,
        *FUNCTIONS,
        *EXPRESSIONS,
        *NESTED,
        *APART,
        *every_statement(now),
        "list_notifications",
        "list_live_notifications",
        "last_notification_looked_at",
        "list_suppressions",
        "list_audit_entries",
        "audit_head_v1",
    } == TEXTS.keys()


async def _check(
    explained: Explained, numbers: range, *, within_months: bool = False, skip_scans: bool = False
) -> None:
    explained.plans()
    now = await explained.connection.fetchval("SELECT now()")
    assert await _process(explained.ledger, numbers, now + timedelta(minutes=5)) == len(numbers)
    submissions = [_submission(number) for number in numbers] + [
        _submission(ROWS + number) for number in numbers
    ]
    answers = await asyncio.gather(*map(explained.ledger.accept, submissions))
    assert sum(answer.created for answer in answers) == len(numbers)
    plans = explained.plans()
    if within_months:
        # The data covers less than a minute, which may span the end of a month.
        opened = {name: partitions_opened(plans, name) for name in GROUPED}
        assert {name: names for name, names in opened.items() if len(names) > 2} == {}
        assert opened["ledger_close_v1"]
    assert sorted(plans) == sorted((*HOT, *FUNCTIONS))
    assert skip_scans or without_index(plans) == set()
    assert wasteful(plans, rows_max=4 * len(numbers) + 20) == set()


async def test_plans_made_on_smaller_tables_use_indexes(connected_before: dict[int, Explained]) -> None:
    await _check_all(connected_before)


@pytest.mark.parametrize("size", [60, 300])
async def test_plans_made_on_tables_analysed_while_small_use_indexes(own_database: str, size: int) -> None:
    # Most of the months' partitions were still empty then.
    async with _filled(own_database, (size,), 6000, analysed=True) as connected:
        await _check_all(connected, skip_scans=True)


async def _check_all(connected: dict[int, Explained], *, skip_scans: bool = False) -> None:
    wrong = {
        size: await _wrong_plans(one, await one.moment(), skip_scans=skip_scans)
        for size, one in connected.items()
    }
    assert {size: found for size, found in wrong.items() if found} == {}
    for number, explained in enumerate(connected.values()):
        for first, size in ((1, 1), (100, 20), (200, 300)):
            start = 4000 * bool(number) + 1000 * number
            await _check(explained, _numbers(start + first, size), skip_scans=skip_scans)


@pytest.mark.parametrize("tables", [TABLES, TABLES[::-1]], ids=["first_to_last", "last_to_first"])
async def test_plans_use_indexes_while_only_some_tables_are_analysed(
    connected_first: Explained, tables: Sequence[str]
) -> None:
    # As autovacuum does it, one table after another; the others have no statistics in the meantime.
    await connected_first.connection.execute("DELETE FROM pg_statistic WHERE starelid >= 16384")
    for number, table in enumerate(tables):
        await connected_first.connection.execute(f"ANALYZE {table}")
        await _check(connected_first, _numbers(800 + number + (50 if tables is TABLES else 0), 1))


@pytest.mark.parametrize(("first", "plans"), [(1000, "force_generic_plan"), (2000, "force_custom_plan")])
async def test_plans_made_on_full_tables_use_indexes(
    connected_before: dict[int, Explained], database: str, first: int, plans: str
) -> None:
    pool = await open_pool(database, size_max=1, command_timeout_s=120)
    async with pool.acquire() as connection:
        await connection.execute("ANALYZE")
        explained = Explained(connection)
        await explained.start(plans)
        try:
            for offset, size in ((0, 1), (10, 20), (100, 500)):
                custom = plans == "force_custom_plan"
                await _check(explained, _numbers(first + offset, size), skip_scans=custom)
        finally:
            explained.stop()
    await pool.close()


async def test_a_write_opens_only_the_partitions_of_its_months(connected_first: Explained) -> None:
    await connected_first.connection.execute("SELECT ensure_partitions_v1(12)")
    await _check(connected_first, _numbers(3000, 20), within_months=True)
