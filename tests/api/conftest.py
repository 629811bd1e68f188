"""The API over real HTTP: uvicorn on its own port, against the module's database."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from api_case import Parked, Submit
from api_server import served, settings_for

from storage import api_keys
from storage.ledger import Ledger
from storage.postgres import Pool


@pytest_asyncio.fixture(scope="module")
async def url(database: str) -> AsyncIterator[str]:
    async with served(settings_for(database)) as url:
        yield url


@pytest_asyncio.fixture(scope="module")
async def api(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of the tenant `bank`."""
    key = await api_keys.create(pool, "bank", "tests")
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20
    ) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def other(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of another tenant."""
    key = await api_keys.create(pool, "shop", "tests")
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20
    ) as client:
        yield client


@pytest.fixture
def submit(api: httpx.AsyncClient) -> Submit:
    """Submits a notification of a new user: `shown = await submit(channels=["sms"])`."""
    return Submit(api)


@pytest.fixture
def parked(submit: Submit, ledger: Ledger) -> Parked:
    """Makes dead letters: `id = await parked()`."""
    return Parked(submit, ledger)


@pytest_asyncio.fixture(scope="module")
async def operator(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of the installation."""
    key = await api_keys.create(pool, None, "tests")
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20
    ) as client:
        yield client
