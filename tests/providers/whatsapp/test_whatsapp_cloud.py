"""WhatsApp's own: the meaning of answers and statuses, templates, verification of webhooks."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from contract import CASES, Vendors, message, settings_from
from pydantic import ValidationError

from domain.notification import Content
from domain.notification_types import Catalog, WhatsAppTemplate
from domain.outcome import Outcome
from providers import registry
from providers.base import AnswersChallenge, CallbackRefused, CallbackRequest
from providers.whatsapp.whatsapp_cloud import fill
from simulators import whatsapp_cloud as simulated

BUDGET_S = 5.0
NOW = datetime.fromtimestamp(1767225600, UTC)
RECORDED = json.loads((Path(__file__).parent / "cases" / "whatsapp_cloud.json").read_text())
OTP = {"template": "otp_code", "parameters": [{"match": r"\d{4,8}"}], "copy_code": True}
DEBIT = {"template": "debit_alert", "parameters": [{"field": "title"}, {}]}
CATALOG = Catalog.model_validate({"types": {"otp": {"whatsapp": OTP}, "debit_alert": {"whatsapp": DEBIT}}})


@pytest.mark.parametrize(
    ("type", "content", "text"),
    [
        ("otp", Content("Your code is 483920. Do not share it."), "483920"),
        (
            "debit_alert",
            Content("You paid\n5,000.00    to Ada.", "Debit alert"),
            "Debit alert You paid 5,000.00 to Ada.",
        ),
        ("statement", Content("Your statement is ready."), "Your statement is ready."),
    ],
)
async def test_a_type_is_sent_by_its_template(
    vendors: Vendors, type: str, content: Content, text: str
) -> None:
    built = registry.build(settings_from(vendors.variables), CATALOG, vendors.listener.url)
    # Only a message without a template needs an open window.
    ending = "9000" if type == "statement" else simulated.CLOSED_WINDOW
    sent = message(CASES["whatsapp_cloud"], vendors.listener.url, f"+23480310{len(type):02d}{ending}")
    try:
        result = await built["whatsapp_cloud"].send(
            replace(sent, type=type, content=content), timeout_s=BUDGET_S
        )
    finally:
        for provider in built.values():
            await provider.aclose()
    assert result.outcome is Outcome.ACCEPTED, result
    [received] = await vendors.simulators.messages("whatsapp_cloud", sent.target.address)
    assert received["text"] == text


async def test_a_message_that_does_not_fit_its_template_is_not_sent(vendors: Vendors) -> None:
    otp = WhatsAppTemplate.model_validate(OTP)
    assert fill(otp, Content("There is no code in this.")) is None
    assert fill(WhatsAppTemplate.model_validate(DEBIT), Content("A body without a title")) is None
    sent = message(CASES["whatsapp_cloud"], vendors.listener.url, text="x" * 4097)
    result = await vendors.providers["whatsapp_cloud"].send(sent, timeout_s=BUDGET_S)
    assert (result.outcome, result.code, result.about_provider) == (Outcome.REJECTED, "text_too_long", False)
    assert not await vendors.simulators.messages("whatsapp_cloud", sent.target.address)


def test_a_template_uses_the_matched_group() -> None:
    parameters = [{"match": r"paid ([0-9.,]+)"}, {"match": r"to (\w+)"}]
    template = WhatsAppTemplate.model_validate({"template": "paid", "parameters": parameters})
    text = fill(template, Content("You paid 5,000.00 to Ada"))
    assert text
    assert [part["text"] for part in text["template"]["components"][0]["parameters"]] == ["5,000.00", "Ada"]
    none = fill(WhatsAppTemplate(template="hello_world"), Content("anything"))
    assert none == {
        "type": "template",
        "template": {"name": "hello_world", "language": {"policy": "deterministic", "code": "en"}},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"template": "Otp Code"},
        {"template": "otp", "copy_code": True},
        {"template": "otp", "parameters": [{"match": "("}]},
    ],
)
def test_an_invalid_template_is_a_settings_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WhatsAppTemplate.model_validate(wrong)


def callback(body: bytes) -> CallbackRequest:
    headers = {name.lower(): value for name, value in simulated.signed(body).items()}
    return CallbackRequest("", headers, {}, body, NOW)


def test_a_webhook_may_hold_many_statuses_and_other_numbers(vendors: Vendors) -> None:
    provider = vendors.providers["whatsapp_cloud"]
    statuses = [{"id": f"wamid.{n}", "status": "sent", "timestamp": "1749416383"} for n in range(3)]
    body = simulated.webhook(*statuses)
    assert [r.provider_message_id for r in provider.parse_callback(callback(body))] == [
        "wamid.0",
        "wamid.1",
        "wamid.2",
    ]
    others = body.replace(simulated.PHONE_NUMBER_ID.encode(), b"999")
    assert list(provider.parse_callback(callback(others))) == []


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"entry": 7}', b'{"entry": [{"changes": [{"value": {"messages": [{"from": "1"}]}}]}]}'],
)
def test_a_webhook_without_statuses_has_no_receipts(vendors: Vendors, body: bytes) -> None:
    assert list(vendors.providers["whatsapp_cloud"].parse_callback(callback(body))) == []
    with pytest.raises(CallbackRefused) as refused:
        vendors.providers["whatsapp_cloud"].parse_callback(callback(b"not JSON"))
    assert refused.value.code == "malformed"


def test_the_challenge_is_answered_for_the_right_token(vendors: Vendors) -> None:
    provider = vendors.providers["whatsapp_cloud"]
    assert isinstance(provider, AnswersChallenge)
    asked = {
        "hub.mode": "subscribe",
        "hub.challenge": "1158201444",
        "hub.verify_token": simulated.VERIFY_TOKEN,
    }
    assert provider.challenge(asked) == "1158201444"
    for wrong in (
        {"hub.verify_token": "another"},
        {"hub.verify_token": "\udcff"},
        {"hub.mode": "unsubscribe"},
    ):
        with pytest.raises(CallbackRefused):
            provider.challenge({**asked, **wrong})
    with pytest.raises(CallbackRefused):
        provider.challenge({})
    assert [name for name, adapter in vendors.providers.items() if isinstance(adapter, AnswersChallenge)] == [
        provider.name
    ]
