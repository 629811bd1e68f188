"""Web Push: requests and encryption, our VAPID identity, and hosts to which nothing is sent."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio
from contract import INSTALLATION
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.ids import attempt_ref, parse_attempt_ref
from domain.notification import Content, Device, Lane
from domain.outcome import AddressVerdict, Outcome
from domain.web_push import Subscription
from providers.push.signing_key import read_key
from providers.push.vapid import LIFE_S, RENEW_AFTER_S, VapidTokens
from providers.push.webpush import PAYLOAD_BYTES_MAX, TTL_S_MAX, WebPush, build_payload
from providers.settings import WebpushSettings
from simulators import webpush as simulated
from simulators.webpush import Undecryptable, decrypt

WINDOWS = "wns2-db5p.notify.windows.com"


def browser(id: str, host: str = simulated.HOST) -> str:
    """The address of a simulated browser."""
    given = simulated.subscription(id, host)
    return Subscription(given["endpoint"], **given["keys"]).text


@pytest.fixture
def vendor(vendors) -> simulated.WebPush:
    found = vendors.simulators["webpush"]
    assert isinstance(found, simulated.WebPush)
    return found


@pytest.fixture
def options(vendors, vendor) -> dict[str, Any]:
    given = vendor.settings(vendors.url)
    prefix = "HERALD_PROVIDERS__WEBPUSH__"
    return {
        "base_url": given[f"{prefix}BASE_URL"],
        "key_file": Path(given[f"{prefix}KEY_FILE"]),
        "subject": given[f"{prefix}SUBJECT"],
    }


@pytest_asyncio.fixture
async def adapter(options):
    adapter = WebPush(WebpushSettings.model_construct(**options), INSTALLATION)
    yield adapter
    await adapter.aclose()


async def test_only_the_browser_can_read_the_message(adapter, vendor, a_message):
    message = a_message(browser("ada"), lane=Lane.CRITICAL)
    result = await adapter.send(message, timeout_s=5)
    assert result.outcome is Outcome.ACCEPTED
    (received,) = vendor.messages.values()
    assert (received.text, received.title) == (message.content.body, message.content.title)
    assert received.ref == message.attempt_ref
    delivery_id, _ = parse_attempt_ref(message.attempt_ref)
    assert received.vendor["tag"] == str(delivery_id)
    assert received.vendor["headers"] == {"TTL": "3600", "Topic": delivery_id.hex, "Urgency": "high"}
    # The message's URL allows anyone to withdraw it: only its digest is kept.
    assert result.provider_message_id
    assert result.provider_message_id not in received.id


def test_the_simulated_browser_reads_the_message_of_the_rfc():
    """RFC 8291, appendix A: proves the implementation that then reads our encryption."""
    secret = _bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")
    key = derive_private_key(int.from_bytes(secret), SECP256R1())
    body = _bytes(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w"
        "EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    auth = _bytes("BTBZMqHH6r4Tts7J_aSIgg")
    assert decrypt(body, key, auth) == b"When I grow up, I want to be a watermelon"
    for other in (body[:-1] + b"x", body[:40], b"", body[:16] + b"\0\0\0\x01" + body[20:]):
        with pytest.raises(Undecryptable):
            decrypt(other, key, auth)


async def test_an_endpoint_is_requested_exactly_as_registered(adapter, vendor, a_message):
    endpoint = f"https://{WINDOWS}/w/?token=BQYA%2bXx%2f8%3d&x=%7ea"
    to = Subscription(endpoint, **simulated.Browser(endpoint).subscription["keys"]).text
    assert (await adapter.send(a_message(to), timeout_s=5)).outcome is Outcome.ACCEPTED
    (received,) = vendor.messages.values()
    assert received.to == endpoint


async def test_a_message_with_other_keys_cannot_be_read(adapter, vendor, a_message):
    endpoint = browser("ada").partition("#")[0]
    keys = browser("eve").partition("#")[2]
    result = await adapter.send(a_message(f"{endpoint}#{keys}"), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "errno_110")
    assert not vendor.messages


async def test_a_copy_replaces_the_waiting_message(adapter, vendor, a_message):
    """This makes repeating an ambiguous send harmless."""
    message = a_message(browser("offline-1"))
    again = replace(message, attempt_ref=attempt_ref(parse_attempt_ref(message.attempt_ref)[0], 2))
    other = replace(message, attempt_ref=attempt_ref(uuid4(), 1))
    for sent in (message, again, other):
        assert (await adapter.send(sent, timeout_s=5)).outcome is Outcome.ACCEPTED
    assert [received.ref for received in vendor.messages.values()] == [again.attempt_ref, other.attempt_ref]


@pytest.mark.parametrize(
    ("lives", "ttl"), [(timedelta(seconds=90.9), 90), (timedelta(days=400), TTL_S_MAX), (timedelta(-1), 0)]
)
async def test_the_ttl_ends_with_the_notification(adapter, vendor, a_message, lives, ttl):
    message = a_message(browser("ttl"))
    await adapter.send(replace(message, expires_at=message.intended_at + lives), timeout_s=5)
    (received,) = vendor.messages.values()
    assert received.vendor["headers"]["TTL"] == str(ttl)


@pytest.mark.parametrize(
    ("lane", "urgency"), [(Lane.HIGH, "high"), (Lane.NORMAL, "normal"), (Lane.BULK, "low")]
)
async def test_the_lane_sets_the_urgency(adapter, vendor, a_message, lane, urgency):
    await adapter.send(a_message(browser("lane"), lane=lane), timeout_s=5)
    (received,) = vendor.messages.values()
    assert received.vendor["headers"]["Urgency"] == urgency


async def test_a_too_large_message_is_not_sent(adapter, vendor, a_message):
    message = a_message(browser("long"), content=Content("₦"))
    room = PAYLOAD_BYTES_MAX - len(build_payload(message))
    fits = replace(message, content=Content("₦" + "a" * room))
    assert (await adapter.send(fits, timeout_s=5)).outcome is Outcome.ACCEPTED
    (received,) = vendor.messages.values()
    assert received.vendor["body_bytes"] == 4096
    result = await adapter.send(replace(message, content=Content("₦" + "a" * (room + 1))), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "payload_too_large")
    assert not vendor.refusals


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("https://127.0.0.1/a", "endpoint_not_allowed"),
        ("https://metadata.internal/a", "endpoint_not_allowed"),
        ("http://updates.push.services.mozilla.com/a", "invalid_subscription"),
        ("https://updates.push.services.mozilla.com/../a", "invalid_subscription"),
    ],
)
async def test_nothing_is_sent_to_a_host_that_is_not_allowed(adapter, vendor, a_message, to, code):
    """Even if it is stored: the list of hosts may have been narrowed since."""
    keys = browser("ada").partition("#")[2]
    result = await adapter.send(a_message(f"{to}#{keys}"), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.REJECTED_RECIPIENT, code)
    assert result.address_verdict is AddressVerdict.KEEP
    assert not vendor.messages
    assert not vendor.refusals


async def test_a_token_is_made_once_for_each_push_service(adapter, vendor, a_message):
    hosts = (simulated.HOST, "fcm.googleapis.com", WINDOWS)
    sent = [a_message(browser(f"b{n}", host)) for n in range(10) for host in hosts]
    results = await asyncio.gather(*(adapter.send(message, timeout_s=10) for message in sent))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert {origin: len(tokens) for origin, tokens in vendor.tokens.items()} == {
        f"https://{host}": 1 for host in hosts
    }


def test_a_token_is_reused_for_six_hours_and_never_valid_for_a_day(options):
    now = 1_800_000_000.0
    tokens = VapidTokens(read_key(options["key_file"]), subject="mailto:a@b.example", clock=lambda: now)
    first = tokens.header("https://push.example")
    claims = jwt.decode(first.split("t=")[1].split(",")[0], options={"verify_signature": False})
    assert claims == {"aud": "https://push.example", "exp": now + LIFE_S, "sub": "mailto:a@b.example"}
    assert LIFE_S < 24 * 3600
    now += RENEW_AFTER_S - 1
    assert tokens.header("https://push.example") == first
    assert tokens.header("https://other.example") != first
    now += 1
    second = tokens.header("https://push.example")
    assert second != first
    now -= 3600
    assert tokens.header("https://push.example") != second


async def test_a_key_other_than_the_subscriptions_is_refused(options, a_message, tmp_path: Path):
    key = tmp_path / "other.pem"
    other = derive_private_key(7, SECP256R1())
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    adapter = WebPush(WebpushSettings.model_construct(**{**options, "key_file": key}), INSTALLATION)
    result = await adapter.send(a_message(browser("ada")), timeout_s=5)
    await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.REJECTED, "errno_109")


@pytest.mark.parametrize("subject", ["mailto:x@localhost", "nobody"])
async def test_an_unreachable_subject_is_refused(options, a_message, subject):
    adapter = WebPush(WebpushSettings.model_construct(**{**options, "subject": subject}), INSTALLATION)
    result = await adapter.send(a_message(browser("ada")), timeout_s=5)
    await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.REJECTED, "errno_109")


def test_a_device_is_reached_by_its_subscription_only(options):
    adapter = WebPush(WebpushSettings.model_construct(**options), INSTALLATION)
    assert adapter.address_of(Device("phone", "fcm", "apns")) is None
    assert adapter.address_of(Device("browser", webpush=browser("ada"))) == browser("ada")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
