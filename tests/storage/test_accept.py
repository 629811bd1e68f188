"""Acceptance: one notification per idempotency key, also under concurrent submissions."""

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


async def test_one_of_concurrent_submissions_of_a_key_is_new(ledger: Ledger, other_ledger: Ledger) -> None:
    row = submission(channels=(Channel.SMS, Channel.EMAIL))
    answers = await asyncio.gather(*(each.accept(row) for _ in range(10) for each in (ledger, other_ledger)))
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


async def test_a_later_submission_gets_the_fingerprint_of_the_first(ledger: Ledger) -> None:
    first = submission()
    other_body = submission(user_id=first.user_id, fingerprint=Fingerprint(b"other", "k2"), body="Other")
    await ledger.accept(first)
    again = await ledger.accept(other_body)
    assert (again.created, again.fingerprint) == (False, first.fingerprint)


async def test_the_second_submission_of_a_key_in_a_group_gets_the_result_of_the_first(ledger: Ledger) -> None:
    first = submission()
    other_body = submission(user_id=first.user_id, fingerprint=Fingerprint(b"other", "k2"), body="Other")
    answers = await asyncio.gather(ledger.accept(first), ledger.accept(other_body))
    assert [answer.created for answer in answers] == [True, False]
    assert [answer.fingerprint for answer in answers] == [first.fingerprint] * 2


async def test_results_of_accept_all_are_in_order_with_duplicates_and_replays(ledger: Ledger) -> None:
    known, new, other = submission(), submission(), submission()
    await ledger.accept(known)
    answers = await ledger.accept_all([new, known, other, new])
    assert [answer.id for answer in answers] == [new.id, known.id, other.id, new.id]
    assert [answer.created for answer in answers] == [True, False, True, False]


async def test_accept_all_with_a_bad_row_stores_nothing(ledger: Ledger) -> None:
    good, bad = submission(), submission(body="\0")
    with pytest.raises(asyncpg.DataError):
        await ledger.accept_all([good, bad])
    assert await ledger.load(good.id) is None


async def test_accept_all_and_groups_of_the_same_rows_do_not_deadlock(database: str) -> None:
    # Postgres looks for a deadlock only after an hour, so one would time this test out.
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


async def test_a_key_accepted_under_another_id_returns_the_first(cases: Cases, ledger: Ledger) -> None:
    # This is what happens after a change of the secret that ids are derived from.
    case = await cases()
    renamed = submission(user_id=case.user_id, id=uuid4())
    neighbour = submission()
    again, beside = await asyncio.gather(ledger.accept(renamed), ledger.accept(neighbour))
    assert (again.id, again.created) == (case.id, False)
    assert beside.created
    assert await ledger.load(renamed.id) is None
    assert [answer.id for answer in await ledger.accept_all([renamed])] == [case.id]


async def test_only_a_row_with_a_bad_value_fails_and_the_error_omits_the_value(ledger: Ledger) -> None:
    rows = [submission() for _ in range(5)]
    rows[2] = submission(body="the code is 774411\0")
    rows[4] = submission(to_sms=774411)
    answers = await asyncio.gather(*(ledger.accept(row) for row in rows), return_exceptions=True)
    for index in (2, 4):
        refused = answers.pop(2 if index == 2 else 3)
        assert isinstance(refused, asyncpg.DataError)
        assert "774411" not in f"{refused} {refused.__cause__} {refused.__context__}"
    assert all(not isinstance(answer, BaseException) and answer.created for answer in answers)


async def test_an_accepted_notification_is_due_at_once(case: Case) -> None:
    loaded, due, shown = await case.load(), await case.due(), await case.shown()
    assert (loaded.status, shown["final_at"]) == (Status.ACCEPTED, None)
    assert due is not None
    assert due["due_at"] == shown["accepted_at"] <= due["now"]
    assert shown["expires_at"] == shown["accepted_at"] + timedelta(seconds=86_400)


async def test_a_notification_for_later_is_scheduled_and_due_at_send_at(cases: Cases) -> None:
    send_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    case = await cases(send_at=send_at, expires_s=60.0)
    delivery, due, shown = await case.delivery(), await case.due(), await case.shown()
    assert due is not None
    assert (shown["status"], delivery.status) == ("scheduled", Status.SCHEDULED)
    assert due["due_at"] == delivery.next_pass_at == delivery.due_at == send_at
    assert delivery.expires_at == send_at + timedelta(seconds=60)
    assert await case.intend() is None


async def test_channels_after_the_first_wait(cases: Cases) -> None:
    case = await cases(strategy=Strategy.FIRST, channels=(Channel.PUSH, Channel.SMS, Channel.EMAIL))
    statuses = {delivery.channel: delivery.status for delivery in (await case.load()).deliveries}
    assert statuses == {
        Channel.PUSH: Status.ACCEPTED,
        Channel.SMS: Status.WAITING,
        Channel.EMAIL: Status.WAITING,
    }
    assert (await case.load()).status is Status.ACCEPTED
