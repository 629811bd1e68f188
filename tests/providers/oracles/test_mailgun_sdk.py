"""Mailgun's own SDK as a client of our simulator, and as the verifier of its signatures."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from contract import CASES, Vendors
from mailgun.client import Client
from mailgun.config import RetryPolicy
from mailgun.security import SecurityGuard
from oracle import base_url, callbacks_of

from providers.base import CallbackRefused
from providers.email.fields import REFERENCE
from providers.email.mailgun_webhooks import SIGNATURE_AGE_S_MAX
from simulators import mailgun as simulated


def client(vendors: Vendors, api_key: str = simulated.API_KEY) -> Client:
    url = base_url(vendors, "mailgun")
    return Client(auth=("api", api_key), api_url=url, retry_policy=RetryPolicy(max_retries=0))


@pytest_asyncio.fixture
async def sdk(vendors: Vendors) -> AsyncIterator[Client]:
    with client(vendors) as made:
        yield made


def send(sdk: Client, to: str, **changes: Any) -> Any:
    mail = {
        "from": simulated.FROM_EMAIL,
        "to": to,
        "subject": "Sign in",
        "text": "Hello",
        "o:tag": ["sdk.1", "otp"],
        f"v:{REFERENCE}": "sdk.1",
    }
    return sdk.messages.create(data={**mail, **changes}, domain=simulated.DOMAIN)


async def test_it_sends_and_finds_its_events(vendors: Vendors, sdk: Client) -> None:
    to = CASES["mailgun"].recipient()
    await vendors.simulators.callbacks("mailgun", to, mode="held")
    answer = await asyncio.to_thread(send, sdk, to)
    assert (answer.status_code, answer.json()["message"]) == (200, "Queued. Thank you.")
    [received] = await vendors.simulators.messages("mailgun", to)
    assert answer.json()["id"] == f"<{received['id']}>"
    assert (received["text"], received["title"], received["ref"]) == ("Hello", "Sign in", "sdk.1")
    await vendors.simulators.report("mailgun", received["id"], "failed", "bounce")
    for filters in (
        {"message-id": received["id"]},
        {"recipient": to, "tags": "otp", "begin": 1, "ascending": "yes", "limit": 300},
    ):
        found = await asyncio.to_thread(sdk.events.get, domain=simulated.DOMAIN, filters=filters)
        events = {event["event"]: event for event in found.json()["items"]}
        assert set(events) == {"accepted", "failed"}
        assert events["failed"]["user-variables"] == {REFERENCE: "sdk.1"}
        assert (events["failed"]["severity"], events["failed"]["reason"]) == ("permanent", "bounce")


async def test_it_finds_what_the_adapter_sent(vendors: Vendors, sdk: Client) -> None:
    sent, _ = await callbacks_of(vendors, "mailgun")
    filters = {"tags": sent.attempt_ref, "event": "delivered"}
    found = await asyncio.to_thread(sdk.events.get, domain=simulated.DOMAIN, filters=filters)
    [event] = found.json()["items"]
    assert event["recipient"] == sent.target.address
    assert event["event"] == "delivered"


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_a_refusal_has_a_reason(vendors: Vendors, sdk: Client, status: int) -> None:
    to = CASES["mailgun"].recipient()
    await vendors.simulators.fault("mailgun", "status", to, status=status)
    answer = await asyncio.to_thread(send, sdk, to)
    assert answer.status_code == status
    assert answer.json()["message"]


async def test_an_unknown_key_is_forbidden(vendors: Vendors) -> None:
    with client(vendors, "key-another") as stranger:
        answer = await asyncio.to_thread(send, stranger, CASES["mailgun"].recipient())
    assert (answer.status_code, answer.json()) == (401, "Forbidden")


async def test_the_simulator_itself_refuses_in_the_same_form(sdk: Client) -> None:
    answer = await asyncio.to_thread(send, sdk, "invalid@customers.example")
    assert (answer.status_code, answer.json()["message"][:36]) == (
        400,
        "to parameter is not a valid address.",
    )


async def test_it_accepts_the_simulators_signature(vendors: Vendors) -> None:
    _, callbacks = await callbacks_of(vendors, "mailgun")
    for callback in callbacks:
        parts = json.loads(callback.body)["signature"]
        assert SecurityGuard.verify_webhook(simulated.SIGNING_KEY, **parts)
        assert not SecurityGuard.verify_webhook("another", **parts)
        assert not SecurityGuard.verify_webhook(simulated.SIGNING_KEY, **{**parts, "token": "0" * 50})
        later = {**parts, "timestamp": str(int(parts["timestamp"]) + 1)}
        assert not SecurityGuard.verify_webhook(simulated.SIGNING_KEY, **later)
        body = json.dumps({**json.loads(callback.body), "signature": later}).encode()
        with pytest.raises(CallbackRefused):
            vendors.providers["mailgun"].parse_callback(replace(callback, body=body))


def test_the_adapter_accepts_signatures_slightly_longer_than_the_sdk() -> None:
    """Mailgun repeats a webhook after 5 and then 10 minutes; the SDK's own 15 would refuse the last."""
    assert SIGNATURE_AGE_S_MAX > 900
