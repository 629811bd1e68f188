"""Replies in the ledger: the latest one counts, in whatever order they arrive, and for every tenant."""

from datetime import timedelta

import pytest
from ledger_case import PHONE, Cases

from domain.notification import Channel
from domain.replies import Reply, Word
from storage.postgres import Pool
from storage.users import Users, suppress, unsuppress

SMS = Channel.SMS


@pytest.fixture
def users(pool: Pool) -> Users:
    return Users(pool)


async def test_the_latest_reply_counts(users: Users, pool: Pool) -> None:
    now = await pool.fetchval("SELECT now()")
    words = [(Word.STOP, 30), (Word.START, 20), (Word.STOP, 10), (Word.START, 15), (Word.STOP, 40)]
    for number, (word, ago_s) in enumerate(words):
        said_at = now - timedelta(seconds=ago_s)
        assert await users.record_reply("termii", Reply(SMS, "+15550100", word, f"m{number}", said_at))
    assert await users.is_suppressed_globally(SMS, "+15550100")
    assert await users.record_reply("termii", Reply(SMS, "+15550100", Word.START, "m9", now))
    assert not await users.is_suppressed_globally(SMS, "+15550100")
    assert not await users.record_reply("termii", Reply(SMS, "+15550100", Word.STOP, "m0", now)), (
        "it was recorded before"
    )
    assert not await users.is_suppressed_globally(SMS, "+15550100")


async def test_a_clock_that_is_ahead_does_not_block_later_replies(users: Users, pool: Pool) -> None:
    ahead = await pool.fetchval("SELECT now() + interval '1 day'")
    await users.record_reply("termii", Reply(SMS, "+15550101", Word.STOP, "ahead", ahead))
    await users.record_reply("twilio", Reply(SMS, "+15550101", Word.START, "next"))
    assert not await users.is_suppressed_globally(SMS, "+15550101")


async def test_a_reply_without_an_id_is_recorded_every_time(users: Users) -> None:
    for _ in range(2):
        assert await users.record_reply("africastalking", Reply(SMS, "+15550102", Word.STOP))
    assert await users.is_suppressed_globally(SMS, "+15550102")


@pytest.mark.parametrize("required", [False, True])
async def test_a_stop_after_the_load_stops_sends_of_every_tenant(
    cases: Cases, users: Users, required: bool
) -> None:
    case = await cases()
    intent = await case.intent(required=required)
    await users.record_reply("twilio", Reply(SMS, PHONE, Word.STOP, f"SM{required}"))
    assert await case.ledger.intend(intent) is None
    assert (await case.load()).recipient.suppressed == {(SMS, PHONE)}
    # A suppression by the tenant is one more reason, and not an error.
    await suppress(case.ledger.pool, (await case.load()).tenant, SMS, PHONE, "asked")
    assert await case.ledger.intend(intent) is None
    await users.record_reply("twilio", Reply(SMS, PHONE, Word.START, f"SM{required}-start"))
    assert await case.ledger.intend(intent) is None
    await unsuppress(case.ledger.pool, (await case.load()).tenant, SMS, PHONE)
    assert await case.ledger.intend(intent) is not None
