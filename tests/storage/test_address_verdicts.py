"""What receipts mean for addresses: suppressed, or a dead token; never an address that came since."""

import pytest

from domain.notification import Channel
from domain.outcome import AddressVerdict
from receipt_case import EMAIL, PHONE, LedgerHarness, receipt


async def _suppressed(harness: LedgerHarness, address: str) -> dict[str, str] | None:
    row = await harness.pool.fetchrow(
        "DELETE FROM suppressions WHERE address = $1 RETURNING tenant, channel, reason, source", address
    )
    return dict(row) if row else None


async def test_an_address_is_suppressed(harness: LedgerHarness) -> None:
    _, ref = await harness.sent()
    verdict = AddressVerdict.SUPPRESS
    await harness.tell(receipt(ref, "undelivered", permanent=True, code="21610", address_verdict=verdict))
    await harness.receipts.apply_due(100)
    assert await _suppressed(harness, PHONE) == {
        "tenant": "t1",
        "channel": "sms",
        "reason": "21610",
        "source": "twilio",
    }


async def test_a_complaint_suppresses_although_it_was_delivered(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.EMAIL)
    ref = await harness.attempt(id, channel=Channel.EMAIL, provider="mailgun", address=EMAIL)
    told = receipt(ref, "delivered", address_verdict=AddressVerdict.SUPPRESS)
    await harness.tell(receipt(ref, "delivered"), told, provider="mailgun")
    await harness.receipts.apply_due(100)
    suppressed = await _suppressed(harness, EMAIL)
    assert suppressed is not None
    assert (suppressed["channel"], suppressed["reason"]) == ("email", "delivered")


async def test_the_users_own_address_is_found(harness: LedgerHarness) -> None:
    id, ref = await harness.sent(address="+4915112345678")
    await harness.pool.execute("UPDATE notification_contents SET to_sms = NULL WHERE notification_id = $1", id)
    await harness.pool.execute("INSERT INTO users VALUES ('t1', $1, '+4915112345678')", f"u-{id}")
    await harness.tell(receipt(ref, "undelivered", address_verdict=AddressVerdict.SUPPRESS))
    await harness.receipts.apply_due(100)
    assert await _suppressed(harness, "+4915112345678") is not None


async def test_an_address_that_came_since_is_left_alone(harness: LedgerHarness) -> None:
    _, ref = await harness.sent(address="+4915187654321")
    await harness.tell(receipt(ref, "undelivered", address_verdict=AddressVerdict.SUPPRESS))
    await harness.receipts.apply_due(100)
    assert await _suppressed(harness, PHONE) is None


@pytest.mark.parametrize("verdict", [AddressVerdict.DEACTIVATE_TOKEN, AddressVerdict.SUPPRESS])
@pytest.mark.parametrize(
    ("provider", "left"), [("fcm", (None, "apns-token-0123456789")), ("apns", ("fcm-token-0123456789", None))]
)
async def test_a_dead_token_is_emptied(
    harness: LedgerHarness, verdict: AddressVerdict, provider: str, left: tuple[str | None, str | None]
) -> None:
    id = await harness.accept(Channel.PUSH)
    await harness.pool.execute(
        "INSERT INTO devices VALUES ('t1', $1, 'd1', 'fcm-token-0123456789', 'apns-token-0123456789')",
        f"u-{id}",
    )
    token = f"{provider}-token-0123456789"
    ref = await harness.attempt(id, channel=Channel.PUSH, provider=provider, device_id="d1", address=token)
    told = receipt(ref, "undelivered", code="unregistered", address_verdict=verdict)
    await harness.tell(told, provider=provider)
    await harness.receipts.apply_due(100)
    row = await harness.pool.fetchrow("SELECT * FROM devices WHERE user_id = $1", f"u-{id}")
    assert row is not None
    assert (row["fcm_token"], row["apns_token"]) == left
    assert row["deactivated_reason"] == "unregistered"
    assert await _suppressed(harness, token) is None


async def test_a_token_registered_since_is_left_alone(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.PUSH)
    token = "fcm-token-0123456789"
    ref = await harness.attempt(id, channel=Channel.PUSH, provider="fcm", device_id="d1", address=token)
    await harness.pool.execute("INSERT INTO devices VALUES ('t1', $1, 'd1', $2)", f"u-{id}", token)
    told = receipt(ref, "undelivered", address_verdict=AddressVerdict.DEACTIVATE_TOKEN)
    await harness.tell(told, provider="fcm")
    await harness.receipts.apply_due(100)
    assert await harness.pool.fetchval("SELECT fcm_token FROM devices WHERE user_id = $1", f"u-{id}") == token
