"""What receipts mean for addresses: suppressed, or a dead token; never an address that came since."""

import pytest

from domain.notification import Channel
from domain.outcome import AddressVerdict
from tests.receipts.conftest import EMAIL, PHONE, World, receipt


async def _suppressed(world: World, address: str) -> dict[str, str] | None:
    row = await world.pool.fetchrow(
        "DELETE FROM suppressions WHERE address = $1 RETURNING tenant, channel, reason, source", address
    )
    return dict(row) if row else None


async def test_an_address_is_suppressed(world: World) -> None:
    _, ref = await world.sent()
    verdict = AddressVerdict.SUPPRESS
    await world.tell(receipt(ref, "undelivered", permanent=True, code="21610", address_verdict=verdict))
    await world.receipts.apply_due(100)
    assert await _suppressed(world, PHONE) == {
        "tenant": "t1",
        "channel": "sms",
        "reason": "21610",
        "source": "twilio",
    }


async def test_a_complaint_suppresses_although_it_was_delivered(world: World) -> None:
    id = await world.accept(Channel.EMAIL)
    ref = await world.attempt(id, channel=Channel.EMAIL, provider="mailgun", address=EMAIL)
    told = receipt(ref, "delivered", address_verdict=AddressVerdict.SUPPRESS)
    await world.tell(receipt(ref, "delivered"), told, provider="mailgun")
    await world.receipts.apply_due(100)
    suppressed = await _suppressed(world, EMAIL)
    assert suppressed is not None
    assert (suppressed["channel"], suppressed["reason"]) == ("email", "delivered")


async def test_the_users_own_address_is_found(world: World) -> None:
    id, ref = await world.sent(address="+4915112345678")
    await world.pool.execute("UPDATE notification_contents SET to_sms = NULL WHERE notification_id = $1", id)
    await world.pool.execute("INSERT INTO users VALUES ('t1', $1, '+4915112345678')", f"u-{id}")
    await world.tell(receipt(ref, "undelivered", address_verdict=AddressVerdict.SUPPRESS))
    await world.receipts.apply_due(100)
    assert await _suppressed(world, "+4915112345678") is not None


async def test_an_address_that_came_since_is_left_alone(world: World) -> None:
    _, ref = await world.sent(address="+4915187654321")
    await world.tell(receipt(ref, "undelivered", address_verdict=AddressVerdict.SUPPRESS))
    await world.receipts.apply_due(100)
    assert await _suppressed(world, PHONE) is None


@pytest.mark.parametrize("verdict", [AddressVerdict.DEACTIVATE_TOKEN, AddressVerdict.SUPPRESS])
@pytest.mark.parametrize(
    ("provider", "left"), [("fcm", (None, "apns-token-0123456789")), ("apns", ("fcm-token-0123456789", None))]
)
async def test_a_dead_token_is_emptied(
    world: World, verdict: AddressVerdict, provider: str, left: tuple[str | None, str | None]
) -> None:
    id = await world.accept(Channel.PUSH)
    await world.pool.execute(
        "INSERT INTO devices VALUES ('t1', $1, 'd1', 'fcm-token-0123456789', 'apns-token-0123456789')",
        f"u-{id}",
    )
    token = f"{provider}-token-0123456789"
    ref = await world.attempt(id, channel=Channel.PUSH, provider=provider, device_id="d1", address=token)
    told = receipt(ref, "undelivered", code="unregistered", address_verdict=verdict)
    await world.tell(told, provider=provider)
    await world.receipts.apply_due(100)
    row = await world.pool.fetchrow("SELECT * FROM devices WHERE user_id = $1", f"u-{id}")
    assert row is not None
    assert (row["fcm_token"], row["apns_token"]) == left
    assert row["deactivated_reason"] == "unregistered"
    assert await _suppressed(world, token) is None


async def test_a_token_registered_since_is_left_alone(world: World) -> None:
    id = await world.accept(Channel.PUSH)
    token = "fcm-token-0123456789"
    ref = await world.attempt(id, channel=Channel.PUSH, provider="fcm", device_id="d1", address=token)
    await world.pool.execute("INSERT INTO devices VALUES ('t1', $1, 'd1', $2)", f"u-{id}", token)
    told = receipt(ref, "undelivered", address_verdict=AddressVerdict.DEACTIVATE_TOKEN)
    await world.tell(told, provider="fcm")
    await world.receipts.apply_due(100)
    assert await world.pool.fetchval("SELECT fcm_token FROM devices WHERE user_id = $1", f"u-{id}") == token
