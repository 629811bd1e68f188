"""Resend's own: one email per key even after lost answers, verification and meaning of webhooks."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import resend as sdk
from contract import CASES, INSTALLATION, Vendors, message
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook
from waiting import until

from domain.outcome import AddressVerdict, Outcome, Receipt, ReceiptStatus
from providers.base import CallbackRefused, CallbackRequest, LookupFailed, Message
from providers.email.fields import REFERENCE
from providers.email.resend import Resend, build_payload, verify_signature
from providers.settings import ResendSettings
from simulators import resend as simulated

BUDGET_S = 5.0
BODY = b'{"type": "email.delivered", "created_at": "2026-01-01T12:00:00Z", "data": {"email_id": "e1"}}'
_numbers = itertools.count(1)


def mail(vendors: Vendors, word: str = "silent", **changes: Any) -> Message:
    to = f"{word}+r{next(_numbers)}@customers.example"
    return replace(message(CASES["resend"], vendors.listener.url, to), **changes)


@pytest.mark.parametrize("kind", ["accept_then_close", "malformed", "reset"])
async def test_a_repeated_request_resolves_without_a_second_mail(vendors: Vendors, kind: str) -> None:
    provider, sent = vendors.providers["resend"], mail(vendors)
    await vendors.simulators.fault("resend", kind, sent.target.address, times=1)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.AMBIGUOUS
    again = await provider.send(sent, timeout_s=BUDGET_S)
    assert again.outcome is Outcome.ACCEPTED
    [stored] = await vendors.simulators.messages("resend", sent.target.address)
    assert again.provider_message_id == stored["id"]
    assert await provider.send(sent, timeout_s=BUDGET_S) == again
    assert len(await vendors.simulators.messages("resend", sent.target.address)) == 1


async def test_another_attempt_is_another_mail(vendors: Vendors) -> None:
    provider, sent = vendors.providers["resend"], mail(vendors)
    first = await provider.send(sent, timeout_s=BUDGET_S)
    second = await provider.send(
        replace(sent, attempt_ref=sent.attempt_ref.replace(".1", ".2")), timeout_s=BUDGET_S
    )
    assert first.provider_message_id != second.provider_message_id
    assert len(await vendors.simulators.messages("resend", sent.target.address)) == 2


async def test_changed_content_under_the_same_key_proves_only_an_arrival(
    vendors: Vendors,
) -> None:
    provider, sent = vendors.providers["resend"], mail(vendors)
    await provider.send(sent, timeout_s=BUDGET_S)
    changed = replace(sent, content=replace(sent.content, body="Another text"))
    result = await provider.send(changed, timeout_s=BUDGET_S)
    assert (result.outcome, result.code) == (Outcome.AMBIGUOUS, "invalid_idempotent_request")
    assert len(await vendors.simulators.messages("resend", sent.target.address)) == 1


async def test_a_concurrent_request_is_reported(vendors: Vendors) -> None:
    provider, sent = vendors.providers["resend"], mail(vendors)
    await vendors.simulators.fault("resend", "accept_then_stall", sent.target.address, latency_s=1, times=1)
    first = asyncio.create_task(provider.send(sent, timeout_s=BUDGET_S))
    await until(lambda: vendors.simulators.messages("resend", sent.target.address))
    beside = await provider.send(sent, timeout_s=BUDGET_S)
    assert (beside.outcome, beside.code) == (Outcome.AMBIGUOUS, "concurrent_idempotent_requests")
    assert await provider.send(sent, timeout_s=BUDGET_S) == beside
    accepted = await first
    assert accepted.outcome is Outcome.ACCEPTED
    assert await provider.send(sent, timeout_s=BUDGET_S) == accepted


def test_a_repeated_request_is_identical(vendors: Vendors) -> None:
    sent = mail(vendors)
    assert build_payload(sent, "n@example.com") == build_payload(
        replace(sent, callback_url=None), "n@example.com"
    )
    [tag] = build_payload(sent, "n@example.com")["tags"]
    assert tag == {"name": REFERENCE, "value": sent.attempt_ref.replace(".", "_")}
    assert len(sent.attempt_ref) <= simulated.KEY_CHARS_MAX


@pytest.mark.parametrize(
    ("word", "code", "status", "permanent", "verdict"),
    [
        ("bounced", "bounced:permanent:general", ReceiptStatus.UNDELIVERED, True, AddressVerdict.SUPPRESS),
        (
            "mailboxfull",
            "bounced:transient:mailboxfull",
            ReceiptStatus.UNDELIVERED,
            False,
            AddressVerdict.KEEP,
        ),
        ("delayed", "delivery_delayed", ReceiptStatus.QUEUED, False, AddressVerdict.KEEP),
        ("suppressed", "suppressed", ReceiptStatus.UNDELIVERED, True, AddressVerdict.SUPPRESS),
        ("failed", "failed", ReceiptStatus.UNDELIVERED, False, AddressVerdict.KEEP),
        ("complained", "complained", ReceiptStatus.DELIVERED, False, AddressVerdict.SUPPRESS),
    ],
)
async def test_a_magic_recipient_reports(
    vendors: Vendors,
    word: str,
    code: str,
    status: ReceiptStatus,
    permanent: bool,
    verdict: AddressVerdict,
) -> None:
    provider, sent = vendors.providers["resend"], mail(vendors, word)
    await provider.send(sent, timeout_s=BUDGET_S)

    def reported(receipts: Sequence[Receipt]) -> bool:
        return any((r.attempt_ref, r.code) == (sent.attempt_ref, code) for r in receipts)

    receipts = [receipt for _, receipt in await vendors.listener.receipts(provider, reported)]
    [receipt] = [r for r in receipts if (r.attempt_ref, r.code) == (sent.attempt_ref, code)]
    assert (receipt.status, receipt.permanent, receipt.address_verdict) == (status, permanent, verdict)


async def test_a_poll_of_an_unknown_mail_is_empty_and_a_forbidden_poll_fails(
    vendors: Vendors,
) -> None:
    assert await vendors.providers["resend"].poll("00000000-never", timeout_s=BUDGET_S) is None
    settings = ResendSettings(
        base_url=vendors.variables["HERALD_PROVIDERS__RESEND__BASE_URL"],
        api_key=SecretStr("re_secret_of_ours"),
        from_email=simulated.FROM_EMAIL,
        webhook_secret=SecretStr(simulated.WEBHOOK_SECRET),
    )
    stranger = Resend(settings, INSTALLATION)
    with pytest.raises(LookupFailed) as failed:
        await stranger.poll("00000000-never", timeout_s=BUDGET_S)
    result = await stranger.send(mail(vendors), timeout_s=BUDGET_S)
    await stranger.aclose()
    assert (result.outcome, result.code) == (Outcome.REJECTED, "invalid_api_key")
    assert "re_secret_of_ours" not in f"{failed.value!r} {stranger!r} {result!r}"


def signed(at: datetime | None = None, body: bytes = BODY) -> CallbackRequest:
    now = datetime.now(UTC)
    return CallbackRequest("", simulated.signed("msg_1", body, at or now), {}, body, now)


def test_the_official_sdk_accepts_the_simulators_signature() -> None:
    request = signed()
    sdk.Webhooks.verify(
        {
            "payload": BODY.decode(),
            "headers": {name: request.headers[f"svix-{name}"] for name in ("id", "timestamp", "signature")},  # pyright: ignore[reportArgumentType] (the keys are those of its TypedDict)
            "webhook_secret": simulated.WEBHOOK_SECRET,
        }
    )


async def test_the_official_sdk_understands_the_simulator(
    vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "api_url", vendors.variables["HERALD_PROVIDERS__RESEND__BASE_URL"])
    monkeypatch.setattr(sdk, "api_key", simulated.API_KEY)
    mine: Any = {"from": simulated.FROM_EMAIL, "to": ["silent+sdk@customers.example"], "subject": "Hello"}
    key: Any = {"idempotency_key": f"sdk-{next(_numbers)}"}

    def call(**more: str) -> str:
        return sdk.Emails.send({**mine, **more}, key)["id"]

    first = await asyncio.to_thread(call, text="Hi")
    assert await asyncio.to_thread(call, text="Hi") == first
    with pytest.raises(sdk.exceptions.ResendError) as another:
        await asyncio.to_thread(call, text="Another")
    assert (str(another.value.code), another.value.error_type) == ("409", "invalid_idempotent_request")
    key["idempotency_key"] += "-2"
    with pytest.raises(sdk.exceptions.MissingRequiredFieldsError):
        await asyncio.to_thread(call)
    assert (await asyncio.to_thread(sdk.Emails.get, first))["id"] == first
    monkeypatch.setattr(sdk, "api_key", "re_wrong")
    with pytest.raises(sdk.exceptions.InvalidApiKeyError):
        await asyncio.to_thread(call, text="Hi")


def test_a_rotated_secret_signs_together_with_the_old_one() -> None:
    request = signed()
    both = {**request.headers, "svix-signature": f"v1,AAAA {request.headers['svix-signature']}"}
    verify_signature([Webhook(simulated.WEBHOOK_SECRET)], replace(request, headers=both))


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("svix-id", "msg_2", "signature_wrong"),
        ("svix-id", "", "signature_missing"),
        ("svix-timestamp", "now", "signature_wrong"),
        ("svix-timestamp", "9" * 30, "signature_wrong"),
        ("svix-signature", "v1,AAAA", "signature_wrong"),
        ("svix-signature", "v2,AAAA", "signature_wrong"),
        ("svix-signature", "v1", "signature_wrong"),
        ("svix-signature", "v1,not base64!", "signature_wrong"),
    ],
)
def test_a_change_of_signed_parts_is_refused(header: str, value: str, code: str) -> None:
    request = signed()
    with pytest.raises(CallbackRefused) as refused:
        verify_signature(
            [Webhook(simulated.WEBHOOK_SECRET)], replace(request, headers={**request.headers, header: value})
        )
    assert refused.value.code == code


@pytest.mark.parametrize("ago_s", [301, -301])
def test_a_signature_expires(ago_s: int) -> None:
    with pytest.raises(CallbackRefused) as refused:
        verify_signature(
            [Webhook(simulated.WEBHOOK_SECRET)], signed(datetime.fromtimestamp(time.time() - ago_s, UTC))
        )
    assert refused.value.code == "too_old"


def test_a_body_that_is_not_text_is_refused() -> None:
    request = signed()
    with pytest.raises(CallbackRefused):
        verify_signature([Webhook(simulated.WEBHOOK_SECRET)], replace(request, body=b"\xff\xfe"))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é"])
def test_an_invalid_secret_is_a_settings_error(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        Resend(
            ResendSettings(
                api_key=SecretStr("k"), from_email="n@example.com", webhook_secret=SecretStr(secret)
            ),
            INSTALLATION,
        )
