"""Finding an SMS that carries no reference of ours, and the contents of requests."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import web
from contract import CASES, EMPTY_CATALOG, INSTALLATION, Vendors, message, settings_from
from pydantic import SecretStr

from domain.outcome import ReceiptStatus
from providers import registry
from providers.base import LookupFailed, Provider
from providers.settings import TwilioSettings
from providers.sms import twilio
from providers.sms.twilio import Twilio, build_payload
from providers.sms.twilio_callbacks import spellings

BUDGET_S = 5.0
SMS = [pytest.param(name, id=name) for name in ("twilio", "termii")]


@pytest.mark.parametrize("name", SMS)
async def test_only_the_same_text_to_the_same_number_since_the_intent_is_found(
    vendors: Vendors, name: str
) -> None:
    provider, simulators = vendors.providers[name], vendors.simulators
    sent = message(CASES[name], vendors.listener.url)
    await simulators.callbacks(name, sent.target.address, mode="held")
    await provider.send(sent, timeout_s=BUDGET_S)
    [found] = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert not found.certain
    assert found.receipt
    assert found.receipt.status in (ReceiptStatus.QUEUED, ReceiptStatus.SENT)
    elsewhere = replace(sent, target=message(CASES[name], vendors.listener.url).target)
    later = replace(sent, intended_at=sent.intended_at + timedelta(hours=1))
    another = replace(sent, content=replace(sent.content, body=sent.content.body + "."))
    for other in (elsewhere, later, another):
        assert list(await provider.lookup(other, timeout_s=BUDGET_S)) == []


@pytest.mark.parametrize("name", SMS)
async def test_the_same_text_twice_gives_two_candidates(vendors: Vendors, name: str) -> None:
    sent = message(CASES[name], vendors.listener.url)
    for _ in range(2):
        await vendors.providers[name].send(sent, timeout_s=BUDGET_S)
    assert len(await vendors.providers[name].lookup(sent, timeout_s=BUDGET_S)) == 2


async def test_a_failed_message_is_found_with_its_failure(vendors: Vendors) -> None:
    sent = message(CASES["twilio"], vendors.listener.url, "+15005550015")
    result = await vendors.providers["twilio"].send(sent, timeout_s=BUDGET_S)
    receipts = await vendors.listener.receipts(
        vendors.providers["twilio"],
        lambda receipts: any(
            r.provider_message_id == result.provider_message_id and r.permanent for r in receipts
        ),
    )
    assert {r.code for _, r in receipts if r.permanent} == {"30005"}
    [found] = await vendors.providers["twilio"].lookup(sent, timeout_s=BUDGET_S)
    assert found.receipt
    assert found.receipt.status is ReceiptStatus.UNDELIVERED


async def test_every_page_of_twilios_list_is_read(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio, "PAGE_SIZE", 2)
    provider = vendors.providers["twilio"]
    sent = message(CASES["twilio"], vendors.listener.url)
    await provider.send(sent, timeout_s=BUDGET_S)
    for _ in range(5):
        other = replace(message(CASES["twilio"], vendors.listener.url), target=sent.target)
        await provider.send(other, timeout_s=BUDGET_S)
    assert len(await provider.lookup(sent, timeout_s=BUDGET_S)) == 1
    monkeypatch.setattr(twilio, "PAGES_MAX", 2)
    with pytest.raises(LookupFailed):
        await provider.lookup(sent, timeout_s=BUDGET_S)


@pytest.mark.parametrize("id", ["", "SM1", "../../Accounts", "SM" + "g" * 32])
async def test_twilio_is_not_asked_about_ids_that_are_not_its_own(vendors: Vendors, id: str) -> None:
    with pytest.raises(LookupFailed):
        await vendors.providers["twilio"].poll(id, timeout_s=BUDGET_S)


@pytest.mark.parametrize("name", SMS)
async def test_an_unknown_message_has_no_report(vendors: Vendors, name: str) -> None:
    provider = vendors.providers[name]
    if name == "twilio":
        with pytest.raises(LookupFailed):
            await provider.poll("SM" + "0" * 32, timeout_s=BUDGET_S)
    else:
        assert await provider.poll("301", timeout_s=BUDGET_S) is None


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[tuple[Provider, list[Any], list[web.Request]]]:
    """Twilio's adapter against a list that the test provides: its pages, and the received requests."""
    pages: list[Any] = []
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        return web.json_response(pages.pop(0))

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = TwilioSettings(
        base_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        account_sid="AC1",
        auth_token=SecretStr("t"),
        sender="+15005550006",
    )
    adapter = Twilio(settings, INSTALLATION)
    yield adapter, pages, requests
    await adapter.aclose()
    await runner.cleanup()


Scripted = tuple[Twilio, list[Any], list[web.Request]]


async def test_twilios_credentials_do_not_follow_foreign_links(scripted: Scripted, vendors: Vendors) -> None:
    adapter, pages, requests = scripted
    sent = message(CASES["twilio"], vendors.listener.url)
    entry = {"sid": "SM" + "a" * 32, "body": "x", "direction": "outbound-api", "date_created": None}
    pages += [{"messages": [entry]}, {"messages": []}]
    assert await adapter.lookup(sent, timeout_s=BUDGET_S) == []
    elsewhere = str(requests[0].url.with_path("/elsewhere").with_query(None))
    pages.insert(0, {"messages": [entry], "next_page_uri": elsewhere})
    with pytest.raises(LookupFailed):
        await adapter.lookup(sent, timeout_s=BUDGET_S)
    assert [request.path for request in requests] == ["/2010-04-01/Accounts/AC1/Messages.json"] * 2


async def test_a_trial_accounts_text_is_recognised_and_a_received_message_is_not(
    scripted: Scripted, vendors: Vendors
) -> None:
    adapter, pages, requests = scripted
    sent = message(CASES["twilio"], vendors.listener.url)
    entry = {
        "sid": "SM" + "a" * 32,
        "body": f"Sent from your Twilio trial account - {sent.content.body}",
        "direction": "outbound-api",
        "date_created": "Thu, 24 Aug 2090 05:01:45 +0000",
    }
    inbound = {**entry, "sid": "SM" + "b" * 32, "direction": "inbound", "body": sent.content.body}
    pages.append({"messages": [entry, inbound], "next_page_uri": None})
    [found] = await adapter.lookup(sent, timeout_s=BUDGET_S)
    assert found.provider_message_id == entry["sid"]
    assert requests[0].query["To"] == sent.target.address


async def test_twilios_messages_of_another_sender_are_not_ours(scripted: Scripted, vendors: Vendors) -> None:
    adapter, pages, _ = scripted
    sent = message(CASES["twilio"], vendors.listener.url)
    entry = {"body": sent.content.body, "direction": "outbound-api", "date_created": None}
    by_service = {"from": "+15005550006", "messaging_service_sid": "MG" + "0" * 32}
    senders = ({"from": "+15005550006"}, {"from": "+15005550007"}, {"from": None}, {}, by_service)
    pages.append({"messages": [{**entry, **one, "sid": f"SM{n:032}"} for n, one in enumerate(senders)]})
    found = await adapter.lookup(sent, timeout_s=BUDGET_S)
    assert [one.provider_message_id for one in found] == [f"SM{n:032}" for n in (0, 2, 3)]


async def test_a_message_of_a_messaging_service_is_found_by_the_service(vendors: Vendors) -> None:
    service = "MG" + "0" * 32
    variables = {**vendors.variables, "HERALD_PROVIDERS__TWILIO__FROM": service}
    built = registry.build(settings_from(variables), EMPTY_CATALOG, vendors.listener.url)
    sent = message(CASES["twilio"], vendors.listener.url)
    try:
        by_number = vendors.providers["twilio"]
        await by_number.send(sent, timeout_s=BUDGET_S)
        id = (await built["twilio"].send(sent, timeout_s=BUDGET_S)).provider_message_id
        [found] = await built["twilio"].lookup(sent, timeout_s=BUDGET_S)
    finally:
        for provider in built.values():
            await provider.aclose()
    assert found.provider_message_id == id


@pytest.mark.parametrize("page", [{}, {"messages": None}, [], {"messages": "none"}])
async def test_an_invalid_list_proves_nothing(scripted: Scripted, vendors: Vendors, page: Any) -> None:
    adapter, pages, _ = scripted
    pages.append(page)
    with pytest.raises(LookupFailed):
        await adapter.lookup(message(CASES["twilio"], vendors.listener.url), timeout_s=BUDGET_S)


@pytest.mark.parametrize(("left_s", "validity"), [(90, "90"), (0, "1"), (-5, "1"), (90_000, "36000")])
def test_the_time_until_expiry_is_twilios_validity(left_s: int, validity: str) -> None:
    sent = message(CASES["twilio"], "http://127.0.0.1:8000")
    sent = replace(sent, expires_at=sent.intended_at + timedelta(seconds=left_s))
    assert build_payload(sent, "+1")["ValidityPeriod"] == validity


def test_a_twilio_request_has_its_callback_url_and_sender() -> None:
    sent = message(CASES["twilio"], "https://herald.example")
    form = build_payload(sent, "MG" + "0" * 32)
    assert form["MessagingServiceSid"] == "MG" + "0" * 32
    assert "From" not in form
    callback = urlsplit(form["StatusCallback"])
    assert callback.query == f"ref={sent.attempt_ref}"
    assert "rc=" in callback.fragment
    assert "StatusCallback" not in build_payload(replace(sent, callback_url=None), "Herald")


@pytest.mark.parametrize(
    ("public_url", "url", "first", "second"),
    [
        (
            "https://h.example",
            "http://10.0.0.1:8000/v1/callbacks/twilio?ref=a",
            "https://h.example/v1/callbacks/twilio?ref=a",
            "https://h.example:443/v1/callbacks/twilio?ref=a",
        ),
        ("http://h.example:8000", "http://x/cb", "http://h.example/cb", "http://h.example:8000/cb"),
        ("https://h.example/herald", "http://x/cb", "https://h.example/herald/cb", "https://h.example:443/herald/cb"),
        ("https://h.example/herald", "http://x/herald/cb", "https://h.example/herald/cb", "https://h.example:443/herald/cb"),
        ("http://[::1]:8000", "http://x/cb", "http://[::1]/cb", "http://[::1]:8000/cb"),
    ],
)  # fmt: skip
def test_the_signed_url_is_the_public_one(public_url: str, url: str, first: str, second: str) -> None:
    assert spellings(public_url, url) == [first, second]
