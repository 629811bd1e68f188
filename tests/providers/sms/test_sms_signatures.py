"""Recorded signatures of the SMS vendors, and what they cover."""

import importlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio
from contract import EMPTY_CATALOG, INSTALLATION
from pydantic import SecretStr

from providers.base import CallbackRefused, CallbackRequest
from providers.installation import Installation
from providers.settings import TermiiSettings, TwilioSettings
from providers.sms import termii, twilio
from simulators.twilio import sign

CASES = {
    file.stem: json.loads(file.read_text())
    for file in sorted((Path(__file__).parent / "cases").glob("*.json"))
}
VENDORS = {name: importlib.import_module(f"providers.sms.{name}") for name in CASES}
RESULT_OF = {name: vendor.parse_result for name, vendor in VENDORS.items()}
RECEIPT_OF = {name: vendor.parse_receipt for name, vendor in VENDORS.items()}
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def each(kind: str) -> list[Any]:
    return [
        pytest.param(vendor, case, id=f"{vendor}: {case['case']}")
        for vendor, cases in CASES.items()
        for case in cases.get(kind, ())
    ]


def _adapter(vendor: str, case: dict[str, Any]) -> twilio.Twilio | termii.Termii:
    if vendor == "twilio":
        settings = TwilioSettings(
            account_sid="AC1",
            auth_token=case["token"],
            sender="+15005550006",
            shared_key=case.get("shared_key"),
        )
        return twilio.Twilio(settings, Installation(case["public_url"], EMPTY_CATALOG))
    return termii.Termii(
        TermiiSettings(api_key=SecretStr("k"), sender_id="Herald", webhook_secret=case["secret"]),
        INSTALLATION,
    )


def _request(case: dict[str, Any]) -> CallbackRequest:
    url = case.get("url", "http://127.0.0.1:8000/v1/callbacks/termii")
    query = dict(parse_qsl(urlsplit(url).query))
    return CallbackRequest(url, case["headers"], query, case["body"].encode(), NOW)


@pytest_asyncio.fixture(params=[pytest.param(one.values, id=one.id) for one in each("signatures")])
async def signed(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[twilio.Twilio | termii.Termii, CallbackRequest]]:
    vendor, case = request.param[0], request.param[1]
    adapter = _adapter(vendor, case)
    yield adapter, _request(case)
    await adapter.aclose()


Signed = tuple[twilio.Twilio | termii.Termii, CallbackRequest]


async def test_a_vendors_signature_is_accepted(signed: Signed) -> None:
    adapter, genuine = signed
    receipts = adapter.parse_callback(genuine)
    assert [receipt.attempt_ref for receipt in receipts] in ([], [genuine.query.get("ref")])


async def test_a_change_of_signed_parts_is_refused(signed: Signed) -> None:
    adapter, genuine = signed
    forged = [
        replace(genuine, body=genuine.body.replace(b"outbound", b"0utbound") + b"&To=%2B1"),
        replace(genuine, body=genuine.body + b" "),
        replace(genuine, headers={}),
        replace(
            genuine,
            headers={
                name: value[:-4] + "AAA=" if name.endswith("-signature") else value
                for name, value in genuine.headers.items()
            },
        ),
    ]
    if isinstance(adapter, twilio.Twilio):
        forged += [
            replace(genuine, url=genuine.url + "0"),
            replace(genuine, url=genuine.url.replace("?", "/x?")),
            replace(genuine, body=b""),
            replace(genuine, body=b"\xff=\xfe"),
            replace(
                genuine,
                headers={**genuine.headers, "x-twilio-webhooks-signature-settings": "key=k,algorithm=NONE"},
            ),
        ]
    for one in forged:
        with pytest.raises(CallbackRefused):
            adapter.parse_callback(one)


def test_the_simulated_twilio_signs_like_the_documentation() -> None:
    case = CASES["twilio"]["signatures"][0]
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert sign(case["token"], url, dict(parse_qsl(case["body"]))) == case["headers"]["x-twilio-signature"]
