"""FCM: requests, the meaning of answers, and the lifetime of the access token."""

import asyncio
import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from contract import INSTALLATION
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import attempt_ref, parse_attempt_ref
from domain.notification import Content
from domain.outcome import AddressVerdict, Outcome
from providers.http import Answer, VendorClient
from providers.push import access_token
from providers.push.access_token import AccessTokens, NoToken, ServiceAccount
from providers.push.fcm import Fcm, build_payload, parse_result
from providers.settings import FcmSettings
from simulators.faults import Fault, Kind


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, headers or {}, raw, datetime.now(UTC))


async def test_message_carries_reference_and_replaces_its_own_copies(fcm, fcm_vendor, a_message):
    message = a_message()
    result = await fcm.send(message, timeout_s=5)
    assert result.outcome is Outcome.ACCEPTED
    received = fcm_vendor.messages[result.provider_message_id]
    delivery = str(parse_attempt_ref(message.attempt_ref)[0])
    assert received.ref == message.attempt_ref
    assert (received.text, received.title) == (message.content.body, message.content.title)
    android, headers = received.vendor["android"], received.vendor["apns"]["headers"]
    assert android["collapse_key"] == android["notification"]["tag"] == delivery
    assert headers["apns-collapse-id"] == delivery
    assert headers["apns-expiration"] == str(int(message.expires_at.timestamp()))
    assert android["ttl"] == "3600s"


def test_attempts_of_one_delivery_replace_each_other(a_message):
    first = a_message()
    delivery, _ = parse_attempt_ref(first.attempt_ref)
    second = replace(first, attempt_ref=attempt_ref(delivery, 2))
    one, two = build_payload(first)["message"], build_payload(second)["message"]
    assert one["android"] == two["android"]
    assert one["data"] != two["data"]


@pytest.mark.parametrize(("life", "ttl"), [(timedelta(days=60), "2419200s"), (timedelta(seconds=-5), "0s")])
def test_ttl_stays_within_fcms_limits(a_message, life, ttl):
    message = a_message()
    message = replace(message, expires_at=message.intended_at + life)
    assert build_payload(message)["message"]["android"]["ttl"] == ttl


@pytest.mark.parametrize(
    ("to", "outcome", "code", "verdict"),
    [
        ("unregistered-1", Outcome.REJECTED_RECIPIENT, "unregistered", AddressVerdict.DEACTIVATE_TOKEN),
        (
            "bad-1",
            Outcome.REJECTED_RECIPIENT,
            "invalid_argument:message.token",
            AddressVerdict.DEACTIVATE_TOKEN,
        ),
        ("mismatch-1", Outcome.REJECTED, "sender_id_mismatch", AddressVerdict.KEEP),
        ("thirdparty-1", Outcome.REJECTED, "third_party_auth_error", AddressVerdict.KEEP),
        ("quota-1", Outcome.THROTTLED, "quota_exceeded", AddressVerdict.KEEP),
        ("unavailable-1", Outcome.UNAVAILABLE, "unavailable", AddressVerdict.KEEP),
        ("internal-1", Outcome.AMBIGUOUS, "internal", AddressVerdict.KEEP),
    ],
)
async def test_magic_tokens(fcm, a_message, to, outcome, code, verdict):
    result = await fcm.send(a_message(to), timeout_s=5)
    assert (result.outcome, result.code, result.address_verdict) == (outcome, code, verdict)
    assert result.retry_after_s == (60 if outcome is Outcome.THROTTLED else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "details", "status", "code", "@type", "fieldViolations", "errorCode"])
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([200, 400, 401, 404, 429, 500, 503]), JSON)
def test_no_answer_raises(status, body):
    result = parse_result(answer(status, {"error": body}))
    assert result.outcome is not Outcome.ACCEPTED
    assert result.address_verdict is AddressVerdict.KEEP


async def test_a_body_above_the_limit_is_never_sent(fcm, fcm_vendor, a_message):
    result = await fcm.send(a_message(content=Content("x" * 4096)), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "payload_too_large")
    assert not result.about_provider
    assert not fcm_vendor.messages
    assert not fcm_vendor.refusals


async def test_a_hundred_callers_share_one_exchange(fcm, fcm_vendor, a_message):
    results = await asyncio.gather(*(fcm.send(a_message(), timeout_s=10) for _ in range(100)))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert fcm_vendor.exchanges == 1


async def test_a_hundred_callers_replace_a_refused_token_once(fcm, fcm_vendor, a_message):
    await fcm.send(a_message(), timeout_s=5)
    fcm_vendor.revoke_tokens()
    results = await asyncio.gather(*(fcm.send(a_message(), timeout_s=10) for _ in range(100)))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert fcm_vendor.exchanges == 2
    assert len(fcm_vendor.messages) == 101


async def test_a_late_refusal_of_an_old_token_leaves_the_new_one(fcm_options, fcm_vendor):
    client = VendorClient(fcm_options["base_url"])
    account = ServiceAccount.read(fcm_options["service_account_file"])
    tokens = AccessTokens(account, fcm_options["token_url"], client)
    try:
        old = await tokens.get(timeout_s=5)
        tokens.refuse(old)
        new = await tokens.get(timeout_s=5)
        tokens.refuse(old)
        assert await tokens.get(timeout_s=5) == new != old
    finally:
        await tokens.aclose()
        await client.aclose()
    assert fcm_vendor.exchanges == 2


async def test_a_token_refused_again_is_rejected_and_not_retried(fcm, fcm_vendor, a_message):
    fcm_vendor.faults.add(Fault(Kind.STATUS, status=401))
    result = await fcm.send(a_message(), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "unauthenticated")
    assert len([refusal for refusal in fcm_vendor.refusals if refusal.status == 401]) == 2


async def test_a_token_in_use_is_replaced_ahead_of_its_expiry(fcm_options, fcm_vendor, until):
    ahead_s = 0.0
    fcm_vendor.token_life_s = 40
    client = VendorClient(fcm_options["base_url"])
    account = ServiceAccount.read(fcm_options["service_account_file"])
    tokens = AccessTokens(account, fcm_options["token_url"], client, clock=lambda: time.time() + ahead_s)
    try:
        first = await tokens.get(timeout_s=5)
        ahead_s = 40 * 0.95
        fcm_vendor.faults.add(Fault(Kind.LATENCY, recipient="token", latency_s=0.05))
        assert {await tokens.get(timeout_s=5) for _ in range(20)} == {first}
        await until(lambda: fcm_vendor.exchanges == 2)
    finally:
        await tokens.aclose()
        await client.aclose()


async def test_a_failed_exchange_is_not_repeated_for_every_message(
    fcm_options, fcm_vendor, until, monkeypatch
):
    monkeypatch.setattr(access_token, "RETRY_S", 1.5)
    ahead_s = 0.0
    fcm_vendor.token_life_s = 40
    client = VendorClient(fcm_options["base_url"])
    account = ServiceAccount.read(fcm_options["service_account_file"])
    tokens = AccessTokens(account, fcm_options["token_url"], client, clock=lambda: time.time() + ahead_s)
    fault = Fault(Kind.STATUS, recipient="token", status=503, times=9)
    try:
        good = await tokens.get(timeout_s=5)
        fcm_vendor.faults.add(fault)
        ahead_s = 36.5
        for _ in range(20):
            assert await tokens.get(timeout_s=5) == good
            await asyncio.sleep(0.01)
        assert fault.times == 8
        ahead_s += 2
        fcm_vendor.faults.clear()
        assert await tokens.get(timeout_s=5) == good
        await until(lambda: fcm_vendor.exchanges == 2)
        assert await tokens.get(timeout_s=5) != good
    finally:
        await tokens.aclose()
        await client.aclose()


async def test_no_token_means_nothing_was_sent(fcm, fcm_vendor, a_message):
    fcm_vendor.faults.add(Fault(Kind.STATUS, recipient="token", status=503))
    result = await fcm.send(a_message(), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "auth.http_503")
    fcm_vendor.faults.clear()
    assert (await fcm.send(a_message(), timeout_s=5)).outcome is Outcome.ACCEPTED


async def test_a_cancelled_caller_leaves_the_exchange_to_the_others(fcm, fcm_vendor, a_message):
    fcm_vendor.faults.add(Fault(Kind.LATENCY, recipient="token", latency_s=0.3))
    hasty, patient = await asyncio.gather(
        fcm.send(a_message(), timeout_s=0.05), fcm.send(a_message(), timeout_s=5)
    )
    assert (hasty.outcome, hasty.code) == (Outcome.NOT_SENT, "auth.timeout")
    assert patient.outcome is Outcome.ACCEPTED
    assert fcm_vendor.exchanges == 1


async def test_a_foreign_key_is_refused_by_the_exchange(fcm_options, a_message, tmp_path: Path):
    account = json.loads(fcm_options["service_account_file"].read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**account, "private_key_id": "unknown"}))
    adapter = Fcm(FcmSettings(**{**fcm_options, "service_account_file": other}), INSTALLATION)
    try:
        result = await adapter.send(a_message(), timeout_s=5)
    finally:
        await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.REJECTED, "auth.invalid_grant")


async def test_closing_ends_an_open_exchange(fcm_options, fcm_vendor):
    fcm_vendor.faults.add(Fault(Kind.LATENCY, recipient="token", latency_s=60))
    client = VendorClient(fcm_options["base_url"])
    account = ServiceAccount.read(fcm_options["service_account_file"])
    tokens = AccessTokens(account, fcm_options["token_url"], client)
    waiting = asyncio.create_task(tokens.get(timeout_s=30))
    await asyncio.sleep(0)
    await tokens.aclose()
    with pytest.raises(NoToken, match=r"auth\.closed"):
        await waiting
    await client.aclose()


@pytest.mark.parametrize(
    "content", ["", "{}", '{"client_email": 1, "private_key_id": 2, "private_key": "x"}']
)
def test_an_unusable_account_file_is_explained(tmp_path: Path, content: str):
    file = tmp_path / "account.json"
    with pytest.raises(ValueError, match="point SERVICE_ACCOUNT_FILE"):
        ServiceAccount.read(file)
    file.write_text(content)
    with pytest.raises(ValueError, match="is not a service account key file"):
        ServiceAccount.read(file)


async def test_no_device_token_reaches_results_or_logs(fcm, a_message, caplog):
    caplog.set_level(logging.DEBUG, logger="providers")
    tokens = [f"{kind}-secretdevice" for kind in ("bad", "unregistered", "internal", "plain")]
    results = [await fcm.send(a_message(token), timeout_s=5) for token in tokens]
    assert "secretdevice" not in repr(results) + caplog.text
