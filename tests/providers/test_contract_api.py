"""Every provider's callbacks at the API: stored, or else refused and counted."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import httpx
import pytest_asyncio
from contract import Case, Vendors, message

from api.app import create_app
from devstack.ports import free_port
from domain.outcome import Receipt, ReceiptStatus
from providers.base import CallbackRequest, Provider
from settings import Settings
from storage.postgres import Pool, open_pool

BUDGET_S = 5.0


@dataclass(frozen=True, slots=True)
class ApiHarness:
    """The API with every provider; the vendors know it by the listener's address."""

    client: httpx.AsyncClient
    pool: Pool

    async def take(self, callback: CallbackRequest) -> tuple[int, str]:
        """The HTTP status, and the code of a refusal."""
        answer = await self.client.post(callback.url, headers=dict(callback.headers), content=callback.body)
        return answer.status_code, answer.json()["code"] if answer.content else ""

    async def stored(self, provider: str) -> int:
        """How many of the provider's reports are in the inbox."""
        return await self.pool.fetchval("SELECT count(*) FROM receipt_inbox WHERE provider = $1", provider)

    async def refused(self, provider: str) -> int:
        """The metric's count of the provider's refused callbacks."""
        shown = (await self.client.get("/metrics")).text
        found = re.findall(
            rf'^herald_callbacks_refused_total{{.*provider="{provider}".*}} (\S+)$', shown, re.M
        )
        return int(sum(map(float, found)))


@pytest_asyncio.fixture(scope="module")
async def api(database: str, vendors: Vendors) -> AsyncIterator[ApiHarness]:
    providers: dict[str, dict[str, str]] = {}
    for variable, value in vendors.variables.items():
        name, setting = variable.removeprefix("HERALD_PROVIDERS__").lower().split("__")
        providers.setdefault(name, {})[setting] = value
    settings = Settings.model_validate(
        {
            "database_url": database,
            "development": True,
            "secret_key": "tests-secret-8c1f6be2d40a97e35b12",
            "valkey_url": f"redis://127.0.0.1:{free_port()}/0",
            "temporal": {"address": f"127.0.0.1:{free_port()}"},
            "public_url": vendors.listener.url,
            "providers": providers,
        }
    )
    app = create_app(settings)
    pool = await open_pool(database, size_max=2)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=vendors.listener.url) as client,
    ):
        yield ApiHarness(client, pool)
    await pool.close()


async def is_not_called_back(case: Case, vendors: Vendors, api: ApiHarness) -> None:
    """A callback for a vendor without callbacks is refused and counted, and stores nothing."""
    url = f"{vendors.listener.url}/v1/callbacks/{case.name}"
    callback = CallbackRequest(url, {}, {}, b"{}", message(case, "").intended_at)
    before = await api.refused(case.name)
    assert await api.take(callback) == (404, "callbacks_not_supported")
    assert (await api.stored(case.name), await api.refused(case.name)) == (0, before + 1)


async def test_a_genuine_callback_is_stored_once_and_a_forged_one_is_counted(
    case: Case, provider: Provider, vendors: Vendors, api: ApiHarness
) -> None:
    if not case.receipts:
        await is_not_called_back(case, vendors, api)
        return
    sent = message(case, vendors.listener.url)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id

    def is_reported(receipts: Sequence[Receipt]) -> bool:
        return any(r.provider_message_id == id and r.status is ReceiptStatus.DELIVERED for r in receipts)

    receipts = await vendors.listener.receipts(provider, is_reported)
    genuine = next(request for request, receipt in receipts if is_reported([receipt]))
    for _ in range(2):
        assert await api.take(genuine) == (200, "")
    for forged in _forgeries(case, genuine):
        before = (await api.stored(case.name), await api.refused(case.name))
        status, code = await api.take(forged)
        assert status in (400, 401), (status, code)
        assert (status == 400) == (code == "malformed")
        assert (await api.stored(case.name), await api.refused(case.name)) == (before[0], before[1] + 1)
    assert await api.stored(case.name) == 1


def _forgeries(case: Case, genuine: CallbackRequest) -> list[CallbackRequest]:
    forged = [replace(genuine, body=body) for body in case.forge(genuine.body)]
    for name in case.signature_headers:
        forged.append(replace(genuine, headers={k: v for k, v in genuine.headers.items() if k != name}))
        forged.append(replace(genuine, headers={**genuine.headers, name: "AAAA"}))
    for name in case.signature_query:
        forged.append(replace(genuine, url=genuine.url.replace(genuine.query[name], "another")))
        forged.append(replace(genuine, url=genuine.url.partition("?")[0]))
    return forged
