"""aioapns, an independent APNs client, against our simulator: HTTP/2, tokens, and each reason."""

import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol
from contract import CASES, Vendors, message
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from oracle import BUDGET_S, base_url
from yarl import URL

from domain.outcome import AddressVerdict, Outcome

REASONS: dict[str, tuple[str, str, Outcome, AddressVerdict]] = {
    # What the client reports · what the adapter does.
    "unregistered-": (
        "410",
        "Unregistered",
        Outcome.REJECTED_RECIPIENT,
        AddressVerdict.DEACTIVATE_TOKEN,
    ),
    "expired-": ("410", "ExpiredToken", Outcome.REJECTED_RECIPIENT, AddressVerdict.DEACTIVATE_TOKEN),
    "bad-": ("400", "BadDeviceToken", Outcome.REJECTED_RECIPIENT, AddressVerdict.DEACTIVATE_TOKEN),
    # Every token gets this if our topic is wrong.
    "othertopic-": ("400", "DeviceTokenNotForTopic", Outcome.REJECTED_RECIPIENT, AddressVerdict.KEEP),
    "toomany-": ("429", "TooManyRequests", Outcome.THROTTLED, AddressVerdict.KEEP),
    "unavailable-": ("503", "ServiceUnavailable", Outcome.UNAVAILABLE, AddressVerdict.KEEP),
}


@pytest_asyncio.fixture
async def client(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[APNs]:
    """The client, pointed at the simulator and its certificate authority."""
    made = client_of(vendors, monkeypatch)
    yield made
    made.pool.close()


def client_of(vendors: Vendors, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> APNs:
    url = URL(base_url(vendors, "apns"))
    monkeypatch.setattr(APNsProductionClientProtocol, "APNS_SERVER", url.host)
    monkeypatch.setattr(APNsProductionClientProtocol, "APNS_PORT", url.port)
    own = {name.rpartition("__")[2]: value for name, value in vendors.variables.items() if "APNS" in name}
    options = {
        "key": Path(own["KEY_FILE"]).read_text(),
        "key_id": own["KEY_ID"],
        "team_id": own["TEAM_ID"],
        "topic": own["TOPIC"],
        "ssl_context": ssl.create_default_context(cafile=own["CA_FILE"]),
        # The client would resend indefinitely without an answer.
        "max_connection_attempts": 1,
    }
    return APNs(**{**options, **changes})


def push(to: str, alert: object = None, **more: Any) -> NotificationRequest:
    shown = alert or {"title": "Debit", "body": "₦5,000"}
    return NotificationRequest(to, {"aps": {"alert": shown}}, push_type=PushType.ALERT, **more)


async def test_it_sends(vendors: Vendors, client: APNs) -> None:
    to = CASES["apns"].recipient()
    request = push(to, time_to_live=60, priority=10, collapse_key="debit")
    result = await client.send_notification(request)
    assert result.is_successful
    assert result.notification_id == request.notification_id
    [received] = await vendors.simulators.messages("apns", to)
    assert (received["text"], received["title"]) == ("₦5,000", "Debit")
    assert received["id"].lower() == request.notification_id


async def test_an_alert_may_be_a_text(vendors: Vendors, client: APNs) -> None:
    to = CASES["apns"].recipient()
    assert (await client.send_notification(push(to, "Hello"))).is_successful
    [received] = await vendors.simulators.messages("apns", to)
    assert (received["text"], received["title"]) == ("Hello", None)


@pytest.mark.parametrize("prefix", REASONS)
async def test_each_reason_is_reported_and_means_the_same_to_the_adapter(
    vendors: Vendors, client: APNs, prefix: str
) -> None:
    status, reason, outcome, verdict = REASONS[prefix]
    to = prefix + CASES["apns"].recipient()
    result = await client.send_notification(push(to))
    assert (result.status, result.description) == (status, reason)
    if status == "410":
        assert result.timestamp == pytest.approx(time.time() * 1000, abs=60_000)
    ours = await vendors.providers["apns"].send(
        message(CASES["apns"], vendors.listener.url, to), timeout_s=BUDGET_S
    )
    assert (ours.outcome, ours.address_verdict, ours.http_status) == (outcome, verdict, int(status))


async def test_a_fault_is_reported_like_any_refusal(vendors: Vendors, client: APNs) -> None:
    to = CASES["apns"].recipient()
    await vendors.simulators.fault("apns", "status", to, status=403, code="ExpiredProviderToken")
    result = await client.send_notification(push(to))
    assert (result.status, result.description) == ("403", "ExpiredProviderToken")


async def test_a_strangers_key_topic_and_team_are_refused(
    vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    key = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for changes, expected in (
        ({"key": key}, ("403", "InvalidProviderToken")),
        ({"key_id": "OTHERKEY01"}, ("403", "InvalidProviderToken")),
        ({"team_id": "OTHERTEAM1"}, ("403", "InvalidProviderToken")),
        ({"topic": "dev.herald.other"}, ("400", "TopicDisallowed")),
    ):
        stranger = client_of(vendors, monkeypatch, **changes)
        result = await stranger.send_notification(push(CASES["apns"].recipient()))
        stranger.pool.close()
        assert (result.status, result.description) == expected


async def test_a_payload_that_is_too_large_is_refused(client: APNs) -> None:
    result = await client.send_notification(push(CASES["apns"].recipient(), "x" * 4096))
    assert (result.status, result.description) == ("413", "PayloadTooLarge")
