"""APNs: requests, the meaning of reasons, and the lifetime of the provider token."""

import asyncio
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from contract import INSTALLATION
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import parse_attempt_ref
from domain.notification import Content
from domain.outcome import AddressVerdict, Outcome
from providers.http import Answer
from providers.push.apns import BY_REASON, Apns, apns_id, parse_result
from providers.push.provider_token import FORCED_EVERY_S, RENEW_AFTER_S, ProviderTokens
from providers.push.signing_key import read_key
from providers.settings import ApnsSettings
from simulators.faults import Fault, Kind

SENT_ID = "0f0c4e7e-6f3c-5a53-9d4b-0d7b0a1f7a11"


def answer(status: int, body: Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {}, raw, datetime.now(UTC))


async def test_message_carries_its_headers(apns, apns_vendor, a_message):
    message = a_message()
    result = await apns.send(message, timeout_s=5)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, apns_id(message))
    (received,) = apns_vendor.messages_of(message.target.address)
    assert received.ref == message.attempt_ref
    assert (received.text, received.title) == (message.content.body, message.content.title)
    headers = received.vendor["headers"]
    assert headers["apns-collapse-id"] == str(parse_attempt_ref(message.attempt_ref)[0])
    assert headers["apns-expiration"] == str(int(message.expires_at.timestamp()))
    assert headers["apns-topic"] == apns_vendor.credentials.apns_topic
    assert (headers["apns-priority"], headers["apns-push-type"]) == ("10", "alert")


async def test_a_token_cannot_leave_its_place_in_the_path(apns, apns_vendor, a_message):
    await apns.send(a_message("../../other?x=1#y"), timeout_s=5)
    assert [message.to for message in apns_vendor.messages.values()] == ["..%2F..%2Fother%3Fx%3D1%23y"]


@pytest.mark.parametrize(
    ("to", "outcome", "code", "verdict"),
    [
        ("unregistered-1", Outcome.REJECTED_RECIPIENT, "unregistered", AddressVerdict.DEACTIVATE_TOKEN),
        ("expired-1", Outcome.REJECTED_RECIPIENT, "expired_token", AddressVerdict.DEACTIVATE_TOKEN),
        ("bad-1", Outcome.REJECTED_RECIPIENT, "bad_device_token", AddressVerdict.DEACTIVATE_TOKEN),
        ("othertopic-1", Outcome.REJECTED_RECIPIENT, "device_token_not_for_topic", AddressVerdict.KEEP),
        ("toomany-1", Outcome.THROTTLED, "too_many_requests", AddressVerdict.KEEP),
        ("unavailable-1", Outcome.UNAVAILABLE, "service_unavailable", AddressVerdict.KEEP),
        ("internal-1", Outcome.AMBIGUOUS, "internal_server_error", AddressVerdict.KEEP),
    ],
)
async def test_magic_tokens(apns, a_message, to, outcome, code, verdict):
    result = await apns.send(a_message(to), timeout_s=5)
    assert (result.outcome, result.code, result.address_verdict) == (outcome, code, verdict)
    assert result.retry_after_s == (900 if result.http_status in (500, 503) else None)


@given(st.sampled_from([400, 403, 404, 429, 500, 503]), st.none() | st.text() | st.sampled_from([*BY_REASON]))
def test_a_reason_never_raises_and_never_carries_text(status, reason):
    result = parse_result(answer(status, {"reason": reason}), SENT_ID)
    assert result.outcome is not Outcome.ACCEPTED
    assert result.code is not None
    assert set(result.code) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")


async def test_a_body_above_the_limit_is_never_sent(apns, apns_vendor, a_message):
    result = await apns.send(a_message(content=Content("x" * 4096)), timeout_s=5)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "payload_too_large")
    assert not result.about_provider
    assert apns_vendor.listener.accepted == 0


async def test_all_requests_share_one_provider_token(apns, apns_vendor, a_message):
    results = await asyncio.gather(*(apns.send(a_message(), timeout_s=10) for _ in range(50)))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert len(apns_vendor.provider_tokens) == 1


async def test_an_expired_provider_token_is_renewed_once_for_all(apns, apns_vendor, a_message):
    await apns.send(a_message(), timeout_s=5)
    apns_vendor.expire_provider_tokens()
    results = await asyncio.gather(*(apns.send(a_message(), timeout_s=10) for _ in range(50)))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert len(apns_vendor.provider_tokens) == 2
    assert len(apns_vendor.messages) == 51


async def test_a_provider_token_expired_again_is_rejected(apns, apns_vendor, a_message):
    apns_vendor.faults.add(Fault(Kind.STATUS, status=403, code="ExpiredProviderToken"))
    first, second = [await apns.send(a_message(), timeout_s=5) for _ in range(2)]
    assert (first.outcome, first.code) == (Outcome.REJECTED, "expired_provider_token")
    assert second.outcome is Outcome.REJECTED
    # Apple refuses everything if tokens are renewed more than every 20 minutes: only the first is retried.
    assert len(apns_vendor.refusals) == 3


def test_a_provider_token_is_reused_for_forty_minutes(apns_options):
    now = 1_800_000_000.0
    key = read_key(apns_options["key_file"])
    tokens = ProviderTokens(key, key_id="K", team_id="T", clock=lambda: now)
    first = tokens.current()
    assert jwt.decode(first, options={"verify_signature": False}) == {"iss": "T", "iat": now}
    assert jwt.get_unverified_header(first) == {"alg": "ES256", "typ": "JWT", "kid": "K"}
    now += RENEW_AFTER_S - 1
    assert tokens.current() == first
    now += 1
    second = tokens.current()
    assert second != first
    third = tokens.after_expired(second)
    assert third not in (None, second)
    assert tokens.after_expired(second) == third
    assert tokens.after_expired(third) is None
    now += FORCED_EVERY_S
    assert tokens.after_expired(third) is not None
    now -= 3600
    before = tokens._token
    assert tokens.current() != before


async def test_unknown_credentials_are_rejected(apns_options, a_message):
    adapter = Apns(ApnsSettings(**{**apns_options, "key_id": "OTHER"}), INSTALLATION)
    try:
        result = await adapter.send(a_message(), timeout_s=5)
    finally:
        await adapter.aclose()
    assert (result.outcome, result.code) == (Outcome.REJECTED, "invalid_provider_token")


async def test_unusable_files_are_explained(apns_options, tmp_path: Path):
    file = tmp_path / "broken"
    with pytest.raises(ValueError, match="point KEY_FILE"):
        Apns(ApnsSettings(**{**apns_options, "key_file": file}), INSTALLATION)
    with pytest.raises(ValueError, match="point CA_FILE"):
        Apns(ApnsSettings(**{**apns_options, "ca_file": file}), INSTALLATION)
    file.write_text("nothing")
    with pytest.raises(ValueError, match="P-256"):
        Apns(ApnsSettings(**{**apns_options, "key_file": file}), INSTALLATION)
    with pytest.raises(ValueError, match="not an https address"):
        Apns(ApnsSettings(**{**apns_options, "base_url": "http://127.0.0.1:1"}), INSTALLATION)


async def test_no_device_token_reaches_results_or_logs(apns, a_message, caplog):
    caplog.set_level(logging.DEBUG)
    tokens = [f"{kind}-secretdevice" for kind in ("bad", "unregistered", "internal", "plain")]
    results = [await apns.send(a_message(token), timeout_s=5) for token in tokens]
    # The simulator, in the same process, logs what it decodes.
    logged = [record.getMessage() for record in caplog.records if not record.getMessage().startswith("Decod")]
    assert "secretdevice" not in repr(results) + "".join(logged)
