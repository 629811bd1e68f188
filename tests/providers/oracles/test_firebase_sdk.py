"""Firebase's own Admin SDK as a client of our simulator: its error classes are the reference."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import firebase_admin
import pytest
import pytest_asyncio
from contract import CASES, Vendors, message
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from firebase_admin import _http_client, credentials, exceptions, messaging
from google.auth.exceptions import RefreshError
from oracle import BUDGET_S, base_url

from domain.outcome import AddressVerdict, Outcome

# The SDK prefers an installation's `fid`; the API accepts both, and the adapter sends `token`.
pytestmark = pytest.mark.filterwarnings("ignore:Message.token is deprecated:DeprecationWarning")

ERRORS: dict[str, tuple[type[Exception], Outcome, AddressVerdict]] = {
    # The SDK's error for a token · what the adapter does.
    "unregistered-": (
        messaging.UnregisteredError,
        Outcome.REJECTED_RECIPIENT,
        AddressVerdict.DEACTIVATE_TOKEN,
    ),
    "bad-": (
        exceptions.InvalidArgumentError,
        Outcome.REJECTED_RECIPIENT,
        AddressVerdict.DEACTIVATE_TOKEN,
    ),
    "mismatch-": (messaging.SenderIdMismatchError, Outcome.REJECTED, AddressVerdict.KEEP),
    "thirdparty-": (messaging.ThirdPartyAuthError, Outcome.REJECTED, AddressVerdict.KEEP),
    "quota-": (messaging.QuotaExceededError, Outcome.THROTTLED, AddressVerdict.KEEP),
    "unavailable-": (exceptions.UnavailableError, Outcome.UNAVAILABLE, AddressVerdict.KEEP),
    "internal-": (exceptions.InternalError, Outcome.AMBIGUOUS, AddressVerdict.KEEP),
}


def account_of(vendors: Vendors) -> dict[str, str]:
    """The service account's file, with the simulator's token endpoint instead of Google's."""
    file = Path(vendors.variables["HERALD_PROVIDERS__FCM__SERVICE_ACCOUNT_FILE"])
    token_url = vendors.variables["HERALD_PROVIDERS__FCM__TOKEN_URL"]
    return {**json.loads(file.read_text()), "token_uri": token_url}


@pytest_asyncio.fixture
async def app(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[firebase_admin.App]:
    """The SDK's app, pointed at the simulator; it retries without a delay."""
    monkeypatch.setattr(
        messaging._MessagingService, "FCM_URL", base_url(vendors, "fcm") + "/v1/projects/{0}/messages:send"
    )
    monkeypatch.setattr(_http_client.DEFAULT_RETRY_CONFIG, "backoff_factor", 0)
    monkeypatch.setattr(_http_client.DEFAULT_RETRY_CONFIG, "respect_retry_after_header", False)
    made = firebase_admin.initialize_app(
        credentials.Certificate(account_of(vendors)), name=f"herald-{uuid4()}"
    )
    yield made
    # It runs its own event loop.
    await asyncio.to_thread(firebase_admin.delete_app, made)


def push(token: str, **more: Any) -> messaging.Message:
    return messaging.Message(
        token=token, notification=messaging.Notification(title="Debit", body="₦5,000"), **more
    )


async def test_it_sends(vendors: Vendors, app: firebase_admin.App) -> None:
    to = CASES["fcm"].recipient()
    android = messaging.AndroidConfig(ttl=3600, collapse_key="debit", priority="high")
    sent = push(to, data={"herald_ref": "sdk.1"}, android=android)
    name = await asyncio.to_thread(messaging.send, sent, app=app)
    [received] = await vendors.simulators.messages("fcm", to)
    assert received["id"] == name
    assert name.startswith("projects/")
    assert (received["text"], received["title"], received["ref"]) == ("₦5,000", "Debit", "sdk.1")


async def test_a_device_may_be_named_by_its_installation(vendors: Vendors, app: firebase_admin.App) -> None:
    to = CASES["fcm"].recipient()
    name = await asyncio.to_thread(messaging.send, messaging.Message(fid=to, data={"k": "v"}), app=app)
    [received] = await vendors.simulators.messages("fcm", to)
    assert received["id"] == name


async def test_each_of_many_messages_gets_an_answer(vendors: Vendors, app: firebase_admin.App) -> None:
    tokens = [CASES["fcm"].recipient(), "unregistered-many", CASES["fcm"].recipient()]
    answer = await asyncio.to_thread(messaging.send_each, [push(token) for token in tokens], app=app)
    assert (answer.success_count, answer.failure_count) == (2, 1)
    assert isinstance(answer.responses[1].exception, messaging.UnregisteredError)


@pytest.mark.parametrize("prefix", ERRORS)
async def test_each_error_is_its_class_and_means_the_same_to_the_adapter(
    vendors: Vendors, app: firebase_admin.App, prefix: str
) -> None:
    kind, outcome, verdict = ERRORS[prefix]
    to = prefix + CASES["fcm"].recipient()
    with pytest.raises(kind) as refused:
        await asyncio.to_thread(messaging.send, push(to), app=app)
    assert isinstance(refused.value, exceptions.FirebaseError)
    assert type(refused.value) is kind
    result = await vendors.providers["fcm"].send(
        message(CASES["fcm"], vendors.listener.url, to), timeout_s=BUDGET_S
    )
    assert (result.outcome, result.address_verdict) == (outcome, verdict)
    assert result.http_status == refused.value.http_response.status_code


async def test_a_404_that_is_not_about_the_token_is_another_error(
    vendors: Vendors, app: firebase_admin.App
) -> None:
    to = CASES["fcm"].recipient()
    await vendors.simulators.fault("fcm", "status", to, status=404, code="")
    with pytest.raises(exceptions.NotFoundError) as refused:
        await asyncio.to_thread(messaging.send, push(to), app=app)
    assert not isinstance(refused.value, messaging.UnregisteredError)
    result = await vendors.providers["fcm"].send(
        message(CASES["fcm"], vendors.listener.url, to), timeout_s=BUDGET_S
    )
    assert (result.outcome, result.address_verdict) == (Outcome.REJECTED, AddressVerdict.KEEP)


async def test_a_value_that_fcm_refuses_is_an_invalid_argument(app: firebase_admin.App) -> None:
    large = push(CASES["fcm"].recipient(), data={"much": "x" * 4096})
    with pytest.raises(exceptions.InvalidArgumentError):
        await asyncio.to_thread(messaging.send, large, app=app)


async def test_a_key_that_google_does_not_know_gets_no_token(
    vendors: Vendors, app: firebase_admin.App
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    stranger = firebase_admin.initialize_app(
        credentials.Certificate({**account_of(vendors), "private_key": pem}), name=f"herald-{uuid4()}"
    )
    try:
        with pytest.raises(RefreshError):
            await asyncio.to_thread(messaging.send, push(CASES["fcm"].recipient()), app=stranger)
    finally:
        await asyncio.to_thread(firebase_admin.delete_app, stranger)
