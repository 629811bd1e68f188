"""Accepting: one key, one notification, however many ask at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from ledger_case import Case, Cases, submission

from domain.fingerprint import Fingerprint
from domain.notification import Channel, Strategy
from domain.status import Status
from storage.ledger import Ledger
from storage.postgres import open_pool


async def test_of_concurrent_submissions_of_one_key_one_is_new(ledger: Ledger, other_ledger: Ledger) -> None:
    row = submission(channels=(Channel.SMS, Channel.EMAIL))
    answers = await asyncio.gather(
        *(place.accept(row) for _ in range(10) for place in (ledger, other_ledger))
    )
    assert sorted(answer.created for answer in answers) == [False] * 19 + [True]
    assert {answer.id for answer in answers} == {row.id}
    assert {answer.fingerprint for answer in answers} == {row.fingerprint}
    counts = await ledger.pool.fetchrow(
        "SELECT (SELECT count(*) FROM notifications WHERE id = $1) AS notifications,"
        " (SELECT count(*) FROM notification_contents WHERE notification_id = $1) AS contents,"
        " (SELECT count(*) FROM deliveries WHERE notification_id = $1) AS deliveries,"
        " (SELECT count(*) FROM due WHERE id = $1) AS due",
        row.id,
    )
    assert counts is not None
    assert dict(counts) == {"notifications": 1, "contents": 1, "deliveries": 2, "due": 1}


async def test_a_later_submission_gets_the_first_ones_fingerprint(ledger: Ledger) -> None:
    first = submission()
    other_body = submission(user_id=first.user_id, fingerprint=Fingerprint(b"other", "k2"), body="Other")
    await ledger.accept(first)
    again = await ledger.accept(other_body)
    assert (again.created, again.fingerprint) == (False, first.fingerprint)


async def test_of_one_key_twice_in_a_group_the_second_is_answered_from_the_first(ledger: Ledger) -> None:
    first = submission()
    other_body = submission(user_id=first.user_id, fingerprint=Fingerprint(b"other", "k2"), body="Other")
    answers = await asyncio.gather(ledger.accept(first), ledger.accept(other_body))
    assert [answer.created for answer in answers] == [True, False]
    assert [answer.fingerprint for answer in answers] == [first.fingerprint] * 2


async def test_a_batch_is_answered_in_its_order_with_duplicates_and_replays(ledger: Ledger) -> None:
    known, new, other = submission(), submission(), submission()
    await ledger.accept(known)
    answers = await ledger.accept_all([new, known, other, new])
    assert [answer.id for answer in answers] == [new.id, known.id, other.id, new.id]
    assert [answer.created for answer in answers] == [True, False, True, False]


async def test_a_batch_with_a_bad_row_is_refused_whole(ledger: Ledger) -> None:
    good, bad = submission(), submission(body="\0")
    with pytest.raises(asyncpg.DataError):
        await ledger.accept_all([good, bad])
    assert await ledger.load(good.id) is None


async def test_batches_and_groups_of_the_same_rows_do_not_lock_each_other_out(database: str) -> None:
    # A deadlock would last: nobody looks for one.
    pools = [await open_pool(f"{database}?deadlock_timeout=1h") for _ in range(2)]
    here, there = (Ledger(pool) for pool in pools)
    for _ in range(5):
        rows = [submission() for _ in range(60)]
        async with asyncio.timeout(60):
            answers = await asyncio.gather(
                here.accept_all(rows),
                there.accept_all(rows[::-1]),
                *(here.accept(row) for row in rows[::-1]),
                *(there.accept(row) for row in rows),
            )
        flat = [*answers[0], *answers[1], *answers[2:]]
        assert sum(answer.created for answer in flat) == len(rows)
    for pool in pools:
        await pool.close()


async def test_a_key_accepted_under_another_id_is_that_notification(cases: Cases, ledger: Ledger) -> None:
    # As after a change of the secret that ids are derived from.
    case = await cases()
    renamed = submission(user_id=case.user_id, id=uuid4())
    neighbour = submission()
    again, beside = await asyncio.gather(ledger.accept(renamed), ledger.accept(neighbour))
    assert (again.id, again.created) == (case.id, False)
    assert beside.created
    assert await ledger.load(renamed.id) is None
    assert [answer.id for answer in await ledger.accept_all([renamed])] == [case.id]


async def test_a_value_that_cannot_be_stored_fails_alone_and_is_not_repeated(ledger: Ledger) -> None:
    rows = [submission() for _ in range(5)]
    rows[2] = submission(body="the code is 774411\0")
    rows[4] = submission(to_sms=774411)
    answers = await asyncio.gather(*(ledger.accept(row) for row in rows), return_exceptions=True)
    for place in (2, 4):
        refused = answers.pop(2 if place == 2 else 3)
        assert isinstance(refused, asyncpg.DataError)
        assert "774411" not in f"{refused} {refused.__cause__} {refused.__context__}"
    assert all(not isinstance(answer, BaseException) and answer.created for answer in answers)


async def test_what_is_accepted_is_due_at_once(case: Case) -> None:
    loaded, due, shown = await case.load(), await case.due(), await case.shown()
    assert (loaded.status, shown["final_at"]) == (Status.ACCEPTED, None)
    assert due is not None
    assert due["due_at"] == shown["accepted_at"] <= due["now"]
    assert shown["expires_at"] == shown["accepted_at"] + timedelta(seconds=86_400)


async def test_what_is_accepted_for_later_is_scheduled_and_due_then(cases: Cases) -> None:
    send_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    case = await cases(send_at=send_at, expires_s=60.0)
    delivery, due, shown = await case.delivery(), await case.due(), await case.shown()
    assert due is not None
    assert (shown["status"], delivery.status) == ("scheduled", Status.SCHEDULED)
    assert due["due_at"] == delivery.next_pass_at == delivery.due_at == send_at
    assert delivery.expires_at == send_at + timedelta(seconds=60)
    assert await case.intend() is None


async def test_channels_behind_the_first_wait(cases: Cases) -> None:
    case = await cases(strategy=Strategy.FIRST, channels=(Channel.PUSH, Channel.SMS, Channel.EMAIL))
    statuses = {delivery.channel: delivery.status for delivery in (await case.load()).deliveries}
    assert statuses == {
        Channel.PUSH: Status.ACCEPTED,
        Channel.SMS: Status.WAITING,
        Channel.EMAIL: Status.WAITING,
    }
    assert (await case.load()).status is Status.ACCEPTED
