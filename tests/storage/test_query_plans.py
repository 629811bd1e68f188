"""The hot path finds its rows by indexes, whatever the size of the group and of the tables, and also with
plans that were made while the tables were empty.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from hashlib import md5
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from domain.decisions import Next
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Lane, Strategy
from domain.outcome import Outcome
from domain.status import Status
from storage.ledger import Ledger
from storage.postgres import SQL, call, open_pool, statement
from storage.rows import Closing, Intent, Move, Submission

ROWS = 50_000
FUNCTION_FILES = SQL.with_name("functions")
HOT = ("accept", "accepted", "accepted_before", "claim", "claimed_messages", "late", "load", "open_twins")
FUNCTIONS = ("advance", "close", "intend", "lock", "move", "refresh")
TABLES = (
    "notifications",
    "notification_contents",
    "deliveries",
    "notification_attempts",
    "due",
    "provider_messages",
    "users",
    "devices",
    "user_notification_settings",
    "suppressions",
)

FILL = """
INSERT INTO notifications (id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id,
                           fingerprint_version, lane, strategy, status, accepted_at, expires_at, final_at)
SELECT md5('n' || no)::uuid, 'acme', 'user-' || no, 'debit_alert', 'key-' || no, '\\x00', 'k', 1, no % 4,
       'first', CASE WHEN no % 5 = 0 THEN 'accepted' ELSE 'sent' END::status, now(), now() + interval '1 day',
       CASE WHEN no % 5 > 0 THEN now() END
FROM generate_series(1, $1) no;
INSERT INTO deliveries (id, notification_id, tenant, user_id, type, channel, position, state, attempts_made,
                        next_pass_at, expires_at, due_at, accepted_at)
SELECT md5('d' || no)::uuid, md5('n' || no)::uuid, 'acme', 'user-' || no, 'debit_alert', 'sms', 0,
       CASE WHEN no % 5 = 0 THEN 'accepted' ELSE 'sent' END::status, 1, now(), now() + interval '1 day',
       CASE WHEN no % 5 = 0 THEN now() END, now()
FROM generate_series(1, $1) no;
INSERT INTO notification_contents (notification_id, accepted_at, body, to_sms)
SELECT md5('n' || no)::uuid, now(), 'You were debited', '+2348031230000' FROM generate_series(1, $1) no;
INSERT INTO notification_attempts (delivery_id, no, accepted_at, notification_id, channel, provider, pass_no,
                                   target_masked, selection, match_key, intended_at, hold_until, outcome)
SELECT md5('d' || no)::uuid, 1, now(), md5('n' || no)::uuid, 'sms', 'twilio', 0, '+234', '{}', 'match-' || no,
       now(), now(), 'accepted'
FROM generate_series(1, $1) no;
INSERT INTO provider_messages
SELECT 'twilio', 'SM-' || no, md5('d' || no)::uuid, 1, now() FROM generate_series(1, $1) no;
INSERT INTO due (id, lane, due_at)
SELECT md5('n' || no)::uuid, no % 4, now() FROM generate_series(5, $1, 5) no;
INSERT INTO users (tenant, user_id, phone) SELECT 'acme', 'user-' || no, '+1' FROM generate_series(1, $1) no;
INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)
SELECT 'acme', 'user-' || no, 'debit_alert', 'sms', true FROM generate_series(1, $1) no;
INSERT INTO suppressions (tenant, channel, address, reason, source)
SELECT 'acme', channel, channel || '-' || no, 'bounce', 'test'
FROM generate_series(1, $1) no, unnest(ARRAY['sms', 'email', 'push']) channel;
INSERT INTO devices (tenant, user_id, device_id, fcm_token, apns_token)
SELECT 'acme', 'user-' || no, device, 'fcm-' || device || no, 'apns-' || device || no
FROM generate_series(1, $1) no, unnest(ARRAY['one', 'two']) device;
"""


class Explained:
    """A ledger over one connection as production opens it, and the plans of whatever it runs."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.ledger = Ledger(self)  # pyright: ignore[reportArgumentType] (all that a ledger needs of a pool)
        self._heard: list[str] = []
        connection.add_log_listener(self._listen)

    def acquire(self, timeout: float | None = None) -> "Explained":
        return self

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self.connection

    async def __aenter__(self) -> Any:
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        pass

    async def release(self, connection: Any) -> None:
        pass

    def _listen(self, _: Any, message: Any) -> None:
        if message.message.startswith("duration:"):
            self._heard.append(message.message)

    async def start(self, plan_cache_mode: str = "auto") -> None:
        await self.connection.execute(
            "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_format = json;"
            "SET auto_explain.log_analyze = on; SET auto_explain.log_nested_statements = on;"
            "SET auto_explain.log_timing = off;"
            f"SET client_min_messages = log; SET plan_cache_mode = {plan_cache_mode}"
        )

    def stop(self) -> None:
        self.connection.remove_log_listener(self._listen)

    def plans(self) -> dict[str, list[dict[str, Any]]]:
        """The plans since the last time, by the name of their statement."""
        texts = {name: _flat(statement(name)) for name in HOT}
        texts |= {name: _flat((FUNCTION_FILES / f"{name}.sql").read_text()) for name in FUNCTIONS}
        found: dict[str, list[dict[str, Any]]] = {}
        for text in self._heard:
            plan = json.loads(text.split("plan:", 1)[1])
            # A function's SELECT … INTO is told without its INTO: the beginning names the statement.
            told = _flat(plan["Query Text"])[:150]
            if name := next((name for name, whole in texts.items() if told in whole), None):
                found.setdefault(name, []).append(plan["Plan"])
        self._heard = []
        return found


def _flat(text: str) -> str:
    return " ".join(text.split())


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _reads(plans: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place where a statement reads a table: its description, and the node of the plan."""
    for name, trees in plans.items():
        for tree in trees:
            for node in _nodes(tree):
                if "Scan" in node["Node Type"] and node.get("Relation Name", "").startswith(TABLES):
                    yield f"{name}: {node['Node Type']} on {node['Relation Name']}", node


def _without_index(plans: dict[str, list[dict[str, Any]]]) -> set[str]:
    """Where a table, or an index of one, would be read from one end to the other."""
    return {place for place, node in _reads(plans) if not {"Index Cond", "Recheck Cond"} & node.keys()}


def _wasteful(plans: dict[str, list[dict[str, Any]]], rows_max: int) -> set[str]:
    """Where more rows were read than that."""
    told = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return {
        f"{place}, {rows:.0f} rows"
        for place, node in _reads(plans)
        if (rows := sum(node.get(key, 0) for key in told) * node["Actual Loops"]) > rows_max
    }


def _id(kind: str, no: int) -> UUID:
    return UUID(md5(f"{kind}{no}".encode(), usedforsecurity=False).hexdigest())


def _submission(no: int) -> Submission:
    return Submission(
        id=_id("n", no),
        tenant="acme",
        user_id=f"user-{no}",
        type="debit_alert",
        idempotency_key=f"key-{no}",
        fingerprint=Fingerprint(b"x", "k"),
        lane=Lane.NORMAL,
        strategy=Strategy.ALL,
        channels=(Channel.SMS,),
        body="You were debited",
    )


async def _way(ledger: Ledger, numbers: Sequence[int], later: Any) -> int:
    """Everything that happens to notifications on their way, to all of them together; how many were there."""
    keys = [(_id("n", no), _id("d", no)) for no in numbers]
    loaded = await asyncio.gather(*(ledger.load(id) for id, _ in keys))
    await asyncio.gather(
        *(
            ledger.intend(
                Intent(id, delivery, 0, "twilio", 10, 30, "+1", "+1", {}, required=False, match_key=f"k{id}")
            )
            for id, delivery in keys
        )
    )
    after = Next(Status.DEFERRED, later, release=True, event="test")
    await asyncio.gather(
        *(
            ledger.close_attempt(
                Closing(id, delivery, 2, 1, Outcome.ACCEPTED, after, provider_message_id=f"SM-{uuid4()}")
            )
            for id, delivery in keys
        )
    )
    over = Next(Status.FAILED, None, event="test")
    await asyncio.gather(*(ledger.move(Move(id, delivery, 2, over)) for id, delivery in keys))
    await ledger.keep_late(keys[0][1], 2, Outcome.ACCEPTED, f"SM-{uuid4()}")
    await ledger.open_twins("match-1", keys[0][1])
    await ledger.claimed_messages("twilio", [f"SM-{no}" for no in numbers])
    await ledger.claim(Lane.NORMAL, len(keys), 60)
    await ledger.accepted([id for id, _ in keys])
    return sum(notification is not None for notification in loaded)


@pytest_asyncio.fixture(scope="module")
async def connected_before(database: str) -> AsyncIterator[Explained]:
    """A filled ledger, and a connection whose plans were made while it was empty."""
    pool = await open_pool(database, size_max=1)
    async with pool.acquire() as connection:
        explained = Explained(connection)
        await explained.start()
        now = await connection.fetchval("SELECT now()")
        # From the sixth time on, Postgres may keep a plan.
        for _ in range(8):
            assert await _way(explained.ledger, range(3), now) == 0
            await connection.execute(call("ledger_advance", 1), [uuid4()])
        filler = await asyncpg.connect(database)
        for part in filter(str.strip, FILL.split(";")):
            await filler.execute(part.replace("$1", str(ROWS)))
        await filler.close()
        yield explained
        explained.stop()
    await pool.close()


def _numbers(first: int, size: int) -> range:
    """Notifications that wait to be sent: every fifth one."""
    return range(first * 5, (first + size) * 5, 5)


async def _check(explained: Explained, numbers: range) -> None:
    explained.plans()
    now = await explained.connection.fetchval("SELECT now()")
    assert await _way(explained.ledger, numbers, now + timedelta(minutes=5)) == len(numbers)
    submissions = [_submission(no) for no in numbers] + [_submission(ROWS + no) for no in numbers]
    answers = await asyncio.gather(*map(explained.ledger.accept, submissions))
    assert sum(answer.created for answer in answers) == len(numbers)
    plans = explained.plans()
    assert sorted(plans) == sorted((*HOT, *FUNCTIONS))
    assert _without_index(plans) == set()
    assert _wasteful(plans, rows_max=4 * len(numbers) + 20) == set()


async def test_plans_that_were_made_on_empty_tables(connected_before: Explained) -> None:
    for first, size in ((1, 1), (100, 20), (200, 500)):
        await _check(connected_before, _numbers(first, size))


@pytest.mark.parametrize("tables", [TABLES, TABLES[::-1]], ids=["first_to_last", "last_to_first"])
async def test_plans_while_some_tables_are_analysed_and_others_are_not(
    connected_before: Explained, tables: Sequence[str]
) -> None:
    # As autovacuum does it, one after the other. A sample leaves the table's size unknown to its neighbours.
    await connected_before.connection.execute("DELETE FROM pg_statistic WHERE starelid >= 16384")
    for no, table in enumerate(tables):
        await connected_before.connection.execute(f"ANALYZE {table}")
        await _check(connected_before, _numbers(800 + no + (50 if tables is TABLES else 0), 1))


@pytest.mark.parametrize(("first", "plans"), [(1000, "force_generic_plan"), (2000, "force_custom_plan")])
async def test_plans_that_are_made_on_full_tables(
    connected_before: Explained, database: str, first: int, plans: str
) -> None:
    pool = await open_pool(database, size_max=1)
    async with pool.acquire() as connection:
        await connection.execute("ANALYZE")
        explained = Explained(connection)
        await explained.start(plans)
        try:
            for offset, size in ((0, 1), (10, 20), (100, 500)):
                await _check(explained, _numbers(first + offset, size))
        finally:
            explained.stop()
    await pool.close()
