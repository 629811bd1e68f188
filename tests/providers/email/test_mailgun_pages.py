"""Mailgun's events come in pages: all of them are read, but none from another host."""

import pytest
from aiohttp import web
from contract import CASES, EMPTY_CATALOG, Vendors, message, settings_from

from domain.outcome import ReceiptStatus
from providers import registry
from providers.base import LookupFailed
from providers.email import mailgun
from simulators.mailgun import DOMAIN

BUDGET_S = 5.0


async def test_every_page_of_events_is_read(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, sent = vendors.providers["mailgun"], message(CASES["mailgun"], vendors.listener.url)
    await vendors.simulators.callbacks("mailgun", sent.target.address, mode="held")
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    assert id
    for word in ("opened", "opened", "opened", "delivered"):
        await vendors.simulators.report("mailgun", id, word)
    monkeypatch.setattr(mailgun, "EVENTS_MAX", 2)
    receipt = await provider.poll(id, timeout_s=BUDGET_S)
    assert receipt
    assert receipt.status is ReceiptStatus.DELIVERED
    assert len(await provider.lookup(sent, timeout_s=BUDGET_S)) == 1
    monkeypatch.setattr(mailgun, "PAGES_MAX", 2)
    with pytest.raises(LookupFailed, match="too many events"):
        await provider.lookup(sent, timeout_s=BUDGET_S)


@pytest.mark.parametrize(
    "paging",
    [None, {}, {"next": 7}, {"next": "http://127.0.0.1:9/elsewhere"}, {"next": "/v3/other.example/events/x"}],
)
async def test_credentials_do_not_follow_foreign_links(
    vendors: Vendors, paging: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"items": [{}], "paging": paging})

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    variables = {name: value for name, value in vendors.variables.items() if "__MAILGUN__" in name}
    variables["HERALD_PROVIDERS__MAILGUN__BASE_URL"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    built = registry.build(settings_from(variables), EMPTY_CATALOG, vendors.listener.url)
    monkeypatch.setattr(mailgun, "EVENTS_MAX", 1)
    try:
        with pytest.raises(LookupFailed, match="not below their own path"):
            await built["mailgun"].lookup(message(CASES["mailgun"], ""), timeout_s=BUDGET_S)
    finally:
        await built["mailgun"].aclose()
        await runner.cleanup()
    assert asked == [f"/v3/{DOMAIN}/events"]
