"""Only genuine, complete and recent callbacks of the email vendors are accepted."""

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from providers.base import CallbackRefused, CallbackRequest
from providers.email import mailgun_webhooks
from providers.email.sendgrid_events import load_public_key, verify_signature
from simulators import mailgun as simulated_mailgun
from simulators import sendgrid as simulated_sendgrid
from simulators.base import SimulatorContext

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECORDED = json.loads((Path(__file__).parent / "cases" / "sendgrid.json").read_text())["signature"]
SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
KEY = load_public_key(simulated_sendgrid.PUBLIC_KEY)
EVENTS = [{"event": "delivered", "sg_event_id": "e1", "sg_message_id": "m.recvd-1"}]


@pytest.fixture
def signed_by_sendgrid(tmp_path: Path) -> CallbackRequest:
    vendor = simulated_sendgrid.SendGrid(SimulatorContext("http://127.0.0.1:9", tmp_path))
    outgoing = vendor.signed(EVENTS, NOW)
    headers = {name.lower(): value for name, value in outgoing.headers.items()}
    return CallbackRequest(outgoing.url, headers, {}, outgoing.body, NOW)


def recorded(**changed: str) -> tuple[str, CallbackRequest]:
    """The event that SendGrid signed, with `changed` applied to its signed parts."""
    parts = {**RECORDED, **changed}
    headers = {SIGNATURE: parts["signature"], TIMESTAMP: parts["timestamp"]}
    at = datetime.fromtimestamp(int(RECORDED["timestamp"]), UTC)
    return parts["public_key"], CallbackRequest("", headers, {}, parts["body"].encode(), at)


def test_sendgrids_own_signature_is_accepted() -> None:
    key, request = recorded()
    verify_signature([load_public_key(key)], request)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": RECORDED["body"].rstrip()},
        {"body": RECORDED["body"].replace("dropped", "delivered")},
        {"timestamp": str(int(RECORDED["timestamp"]) + 1)},
        {"timestamp": "timestamp"},
        {"signature": RECORDED["another_signature"]},
        {"signature": "AAAA"},
        {"signature": "not base64!"},
        {"public_key": RECORDED["another_public_key"]},
    ],
)
def test_a_forged_sendgrid_signature_is_refused(changed: dict[str, str]) -> None:
    key, request = recorded(**changed)
    with pytest.raises(CallbackRefused) as refused:
        verify_signature([load_public_key(key)], request)
    assert refused.value.code == "signature_wrong"


@pytest.mark.parametrize(
    ("age_s", "believed"), [(0, True), (299, True), (301, False), (-299, True), (-301, False)]
)
def test_a_sendgrid_signature_expires(
    signed_by_sendgrid: CallbackRequest, age_s: int, believed: bool
) -> None:
    request = replace(signed_by_sendgrid, now=NOW + timedelta(seconds=age_s))
    if believed:
        verify_signature([KEY], request)
        return
    with pytest.raises(CallbackRefused) as refused:
        verify_signature([KEY], request)
    assert refused.value.code == "too_old"


@pytest.mark.parametrize("missing", [SIGNATURE, TIMESTAMP])
def test_an_unsigned_event_webhook_is_refused(signed_by_sendgrid: CallbackRequest, missing: str) -> None:
    headers = {name: value for name, value in signed_by_sendgrid.headers.items() if name != missing}
    with pytest.raises(CallbackRefused) as refused:
        verify_signature([KEY], replace(signed_by_sendgrid, headers=headers))
    assert refused.value.code == "signature_missing"


def _other_keys() -> list[str]:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    ec_key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    pem = ec_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    der = rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ["", "AAAA", "not base64!", pem, b64encode(der).decode()]


@pytest.mark.parametrize("key", _other_keys(), ids=["none", "short", "text", "pem", "rsa"])
def test_a_malformed_key_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(ValueError, match="webhook_public_key"):
        load_public_key(key)


def test_a_sendgrid_key_may_be_wrapped() -> None:
    wrapped = simulated_sendgrid.PUBLIC_KEY[:64] + "\n" + simulated_sendgrid.PUBLIC_KEY[64:] + "\n"
    assert load_public_key(wrapped) == KEY


MAILGUN_EVENT = {"event": "delivered", "id": "e1", "message": {"headers": {"message-id": "m@x"}}}
MAILGUN_KEY = simulated_mailgun.SIGNING_KEY.encode()


def mailgun_signature() -> dict[str, str]:
    return json.loads(simulated_mailgun.signed(MAILGUN_EVENT, NOW))["signature"]


def test_mailguns_own_signature_is_accepted() -> None:
    mailgun_webhooks.verify_signature([MAILGUN_KEY], mailgun_signature(), NOW)


def test_mailguns_timestamp_may_be_a_number() -> None:
    signature = mailgun_signature()
    mailgun_webhooks.verify_signature(
        [MAILGUN_KEY], {**signature, "timestamp": int(signature["timestamp"])}, NOW
    )


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"timestamp": str(int(NOW.timestamp()) + 1)}, "signature_wrong"),
        ({"token": "0" * 50}, "signature_wrong"),
        ({"signature": "0" * 64}, "signature_wrong"),
        ({"signature": "é\ud800"}, "signature_wrong"),
        ({"token": "\ud800"}, "signature_wrong"),
        ({"signature": None}, "signature_missing"),
        ({"token": 7}, "signature_missing"),
        ({"timestamp": ["1"]}, "signature_missing"),
    ],
)
def test_a_forged_mailgun_signature_is_refused(changed: dict[str, object], code: str) -> None:
    with pytest.raises(CallbackRefused) as refused:
        mailgun_webhooks.verify_signature([MAILGUN_KEY], {**mailgun_signature(), **changed}, NOW)
    assert refused.value.code == code


def test_another_mailgun_key_is_refused() -> None:
    with pytest.raises(CallbackRefused) as refused:
        mailgun_webhooks.verify_signature([b"another"], mailgun_signature(), NOW)
    assert refused.value.code == "signature_wrong"


@pytest.mark.parametrize(
    "age_s", [mailgun_webhooks.SIGNATURE_AGE_S_MAX + 1, -mailgun_webhooks.SIGNATURE_AGE_S_MAX - 1]
)
def test_an_old_mailgun_signature_is_refused(age_s: int) -> None:
    with pytest.raises(CallbackRefused) as refused:
        mailgun_webhooks.verify_signature([MAILGUN_KEY], mailgun_signature(), NOW + timedelta(seconds=age_s))
    assert refused.value.code == "too_old"


def test_a_mailgun_webhook_is_accepted_at_its_second_repetition() -> None:
    mailgun_webhooks.verify_signature(
        [MAILGUN_KEY], mailgun_signature(), NOW + timedelta(minutes=15, seconds=30)
    )
