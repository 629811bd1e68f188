"""Address verdicts of receipts: suppressed addresses and dead tokens, but never a newer address."""

import pytest
from receipt_case import EMAIL, PHONE, LedgerHarness, receipt

from domain.notification import Channel
from domain.outcome import AddressVerdict


async def _suppressed(harness: LedgerHarness, address: str) -> dict[str, str] | None:
    row = await harness.pool.fetchrow(
        "DELETE FROM suppressions WHERE address = $1 RETURNING tenant, channel, reason, source", address
    )
    return dict(row) if row else None


async def test_a_verdict_suppresses_the_address(harness: LedgerHarness) -> None:
    _, ref = await harness.sent()
    verdict = AddressVerdict.SUPPRESS
    await harness.report_receipts(
        receipt(ref, "undelivered", permanent=True, code="21610", address_verdict=verdict)
    )
    await harness.receipts.apply_due(100)
    assert await _suppressed(harness, PHONE) == {
        "tenant": "t1",
        "channel": "sms",
        "reason": "21610",
        "source": "twilio",
    }


async def test_a_complaint_about_a_delivered_mail_suppresses_the_address(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.EMAIL)
    ref = await harness.attempt(id, channel=Channel.EMAIL, provider="mailgun", address=EMAIL)
    report = receipt(ref, "delivered", address_verdict=AddressVerdict.SUPPRESS)
    await harness.report_receipts(receipt(ref, "delivered"), report, provider="mailgun")
    await harness.receipts.apply_due(100)
    suppressed = await _suppressed(harness, EMAIL)
    assert suppressed is not None
    assert (suppressed["channel"], suppressed["reason"]) == ("email", "delivered")


async def test_an_address_from_the_contacts_of_the_user_is_suppressed(harness: LedgerHarness) -> None:
    id, ref = await harness.sent(address="+4915112345678")
    await harness.pool.execute(
        "UPDATE notification_contents SET to_sms = NULL WHERE notification_id = $1", id
    )
    await harness.pool.execute("INSERT INTO users VALUES ('t1', $1, '+4915112345678')", f"u-{id}")
    await harness.report_receipts(receipt(ref, "undelivered", address_verdict=AddressVerdict.SUPPRESS))
    await harness.receipts.apply_due(100)
    assert await _suppressed(harness, "+4915112345678") is not None


async def test_an_address_changed_after_the_send_is_not_suppressed(harness: LedgerHarness) -> None:
    _, ref = await harness.sent(address="+4915187654321")
    await harness.report_receipts(receipt(ref, "undelivered", address_verdict=AddressVerdict.SUPPRESS))
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
    report = receipt(ref, "undelivered", code="unregistered", address_verdict=verdict)
    await harness.report_receipts(report, provider=provider)
    await harness.receipts.apply_due(100)
    row = await harness.pool.fetchrow("SELECT * FROM devices WHERE user_id = $1", f"u-{id}")
    assert row is not None
    assert (row["fcm_token"], row["apns_token"]) == left
    assert row["deactivated_reason"] == "unregistered"
    assert await _suppressed(harness, token) is None


async def test_a_token_registered_after_the_send_is_kept(harness: LedgerHarness) -> None:
    id = await harness.accept(Channel.PUSH)
    token = "fcm-token-0123456789"
    ref = await harness.attempt(id, channel=Channel.PUSH, provider="fcm", device_id="d1", address=token)
    await harness.pool.execute("INSERT INTO devices VALUES ('t1', $1, 'd1', $2)", f"u-{id}", token)
    report = receipt(ref, "undelivered", address_verdict=AddressVerdict.DEACTIVATE_TOKEN)
    await harness.report_receipts(report, provider="fcm")
    await harness.receipts.apply_due(100)
    assert await harness.pool.fetchval("SELECT fcm_token FROM devices WHERE user_id = $1", f"u-{id}") == token
