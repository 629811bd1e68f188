"""The work of a broadcast over the real ledger: what each turn accepts, refuses, cancels and ends."""

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from delivery_case import TENANT, catalog

from delivery.broadcast import CHUNK_CHARS_MAX, BroadcastProcessor, TypeNotConfigured
from domain.audit import chain_key
from domain.broadcasts import Audience, Broadcast, BroadcastRecipient, BroadcastStatus, Command, Ended
from domain.contracts import BroadcastStep
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Strategy
from domain.sms_policy import SmsPolicy
from storage.audit import AuditLog
from storage.broadcast_chunks import BroadcastChunks
from storage.broadcasts import Broadcasts
from storage.broadcasts import create as store_broadcast
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import NewBroadcast
from telemetry.metrics import Metrics

_numbers = itertools.count(1)


@pytest.fixture
def broadcasts(pool: Pool) -> BroadcastChunks:
    return BroadcastChunks(pool)


@pytest.fixture
def processor(broadcasts: BroadcastChunks, ledger: Ledger) -> BroadcastProcessor:
    audit = AuditLog(ledger.pool, chain_key("secret"))
    return BroadcastProcessor(broadcasts, ledger, catalog(), uuid4(), {"k1": "secret"}, Metrics(), audit)


def recipients(*names: str | None) -> list[BroadcastRecipient]:
    """A recipient for each name; without a name the template cannot be rendered."""
    return [
        BroadcastRecipient(
            number, f"user-{next(_numbers)}", {"sms": "+2348031230000"}, {"name": name} if name else None
        )
        for number, name in enumerate(names, 1)
    ]


async def create(pool: Pool, to: list[BroadcastRecipient], **changes: Any) -> UUID:
    fields: dict[str, Any] = {"type": "news", "recipients": to, "body": "Hello {{ name }}", **changes}
    new = NewBroadcast(
        id=uuid4(),
        tenant=TENANT,
        idempotency_key=str(uuid4()),
        fingerprint=Fingerprint(b"f", "k1"),
        channels=fields.pop("channels", (Channel.SMS,)),
        strategy=Strategy.ALL,
        title=None,
        audience=Audience.LIST,
        **fields,
    )
    async with pool.acquire() as connection, connection.transaction():
        created, id, _ = await store_broadcast(connection, new)
    assert created
    return id


async def read(broadcasts: BroadcastChunks, id: UUID) -> Broadcast:
    found = await broadcasts.read(id)
    assert found is not None
    return found


async def test_numbers_that_sms_may_not_go_to_are_refused_lines(
    pool: Pool, broadcasts: BroadcastChunks, ledger: Ledger
) -> None:
    which = catalog(sms=SmsPolicy(countries=("NG", "GB")))
    audit = AuditLog(pool, chain_key("secret"))
    processor = BroadcastProcessor(broadcasts, ledger, which, uuid4(), {"k1": "secret"}, Metrics(), audit)
    to = recipients("Ada", "Bola", "Chi", "Dan")
    numbers = ["+2348031230000", "+449098790000", "+13125550123", None]
    to = [replace(one, addresses={"sms": n} if n else None) for one, n in zip(to, numbers, strict=True)]
    id = await create(pool, to)
    turn = await processor.accept(id, lambda _: None)
    assert (turn.accepted, turn.refused) == (2, 2)
    found = await Broadcasts(pool).refused(await read(broadcasts, id), 0, 10)
    assert [(refusal.number, refusal.code, refusal.pointer) for refusal in found] == [
        (2, "number_type_refused", "/to/sms"),
        (3, "country_not_allowed", "/to/sms"),
    ]
    # Over another channel the number is not used.
    mail = await create(pool, [replace(to[1], user_id="mail")], channels=(Channel.EMAIL,))
    assert (await processor.accept(mail, lambda _: None)).accepted == 1


async def test_it_accepts_who_can_be_accepted_and_completes(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    id, told = await create(pool, recipients("Ada", None, "Grace")), list[int]()
    turn = await processor.accept(id, told.append)
    assert (turn.step, turn.status) == (BroadcastStep.FOLLOW, "completed")
    assert (turn.accepted, turn.refused, turn.active) == (2, 1, 2)
    assert told == [0, 3, 3]
    bodies = await pool.fetch(
        "SELECT body FROM notification_contents JOIN notifications ON id = notification_id"
        " WHERE broadcast_id = $1",
        id,
    )
    assert {row["body"] for row in bodies} == {"Hello Ada", "Hello Grace"}
    refused = await broadcasts.refused(await read(broadcasts, id), 0, 5)
    assert [(row.number, row.code) for row in refused] == [(2, "template_value_missing")]


async def test_a_line_that_the_database_refuses_is_refused_alone(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    await pool.execute("ALTER TABLE notification_contents ADD CONSTRAINT no_eve CHECK (body <> 'Hello Eve')")
    try:
        id = await create(pool, recipients("Ada", "Bob", "Eve", "Dan", "Fay"))
        turn = await processor.accept(id, lambda _: None)
    finally:
        await pool.execute("ALTER TABLE notification_contents DROP CONSTRAINT no_eve")
    assert (turn.status, turn.accepted, turn.refused) == ("completed", 4, 1)
    refused = await broadcasts.refused(await read(broadcasts, id), 0, 5)
    assert [(row.number, row.code) for row in refused] == [(3, "not_storable")]


async def test_a_refused_recipient_is_told_of_all_that_is_absent(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    to = [BroadcastRecipient(1, "ada", {"sms": "+2348031230000"}, {"city": " ", "sum": None})]
    id = await create(pool, to, body="{{ name }} {{ city }} {{ sum }} {{ name }}")
    await processor.accept(id, lambda _: None)
    (refused,) = await broadcasts.refused(await read(broadcasts, id), 0, 5)
    assert (refused.code, refused.pointer) == ("template_value_missing", "/data")
    assert "needs `name` (missing), `city` (blank), `sum` (null)" in refused.message


async def test_a_template_that_is_no_longer_valid_refuses_every_recipient(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    id = await create(pool, recipients("Ada", "Bob"), body="{{ name|shout }}")
    turn = await processor.accept(id, lambda _: None)
    assert (turn.status, turn.refused) == ("completed", 2)
    refused = await broadcasts.refused(await read(broadcasts, id), 0, 5)
    assert [(row.number, row.code) for row in refused] == [(1, "template_failed"), (2, "template_failed")]
    assert "there is no filter `shout`" in refused[0].message


async def test_other_work_goes_on_while_costly_texts_are_rendered(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    """Between two recipients who use up their fuel, or some that use little, others have their turn."""
    bomb = [
        BroadcastRecipient(number, f"user-{number}", {"sms": "+2348031230000"}, {"many": [1] * 5_000})
        for number in range(1, 21)
    ]
    id = await create(pool, bomb)
    broadcast = await read(broadcasts, id)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def turns_during(body: str) -> int:
        nonlocal turns
        turns = 0
        await processor._submissions(replace(broadcast, body=body), bomb)
        return turns

    task = asyncio.create_task(others())
    try:
        assert await turns_during("{% for x in many %}{{ x ~ x|upper|lower }}{% endfor %}") >= len(bomb) - 1
        assert await turns_during("Hi {{ user_id }}") == 0
    finally:
        task.cancel()


async def test_a_chunk_of_long_texts_ends_early(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    to = recipients(*["Ada"] * (CHUNK_CHARS_MAX // 60_000 + 10))
    id = await create(pool, to, body="{{ name }}" + "x" * 60_000)
    told = list[int]()
    turn = await processor.accept(id, told.append)
    assert (turn.status, turn.accepted) == ("completed", len(to))
    first = CHUNK_CHARS_MAX // 60_000 + 1
    assert told[:2] == [0, first]


async def test_an_expired_broadcast_accepts_nobody(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    id = await create(pool, recipients("Ada"), expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    turn = await processor.accept(id, lambda _: None)
    assert (turn.step, turn.status, turn.accepted) == (BroadcastStep.FOLLOW, "cancelled", 0)
    assert (await read(broadcasts, id)).reason_code == Ended.EXPIRED


async def test_a_type_that_is_not_configured_accepts_nobody(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    id = await create(pool, recipients("Ada"), type="gone")
    with pytest.raises(TypeNotConfigured, match="gone"):
        await processor.accept(id, lambda _: None)
    assert (await read(broadcasts, id)).cursor == 0


async def test_a_cancelled_broadcast_is_stopped_cleared_and_over(
    pool: Pool, broadcasts: BroadcastChunks, processor: BroadcastProcessor
) -> None:
    id = await create(pool, recipients("Ada", "Bob"))
    assert (await processor.accept(id, lambda _: None)).active == 2
    turn = await processor.apply_command(id, Command.CANCEL)
    assert (turn.step, turn.status) == (BroadcastStep.STOP, "cancelled")
    row = await pool.fetchrow("SELECT actor, tenant, action, before, after FROM audit_log")
    assert row is not None
    statuses = {"status": "completed"}, {"status": "cancelled"}
    assert tuple(row) == ("temporal", TENANT, "broadcast.cancel", *statuses)
    turn = await processor.stop(id, lambda _: None)
    assert (turn.step, turn.active) == (BroadcastStep.FOLLOW, 0)
    assert (await processor.follow(id)).step is BroadcastStep.OVER
    found = await read(broadcasts, id)
    assert (found.status, found.counts.cancelled) == (BroadcastStatus.CANCELLED, 2)
    assert found.ended_at is not None
