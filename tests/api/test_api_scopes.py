"""Every route of the OpenAPI document × every kind of key: what each key may do, and how it is refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from api_server import MANY_WRONG_KEYS, config_with, served, settings_for

from api.access import ACCESS, TENANT_HEADER, Access, Whose
from domain.access import ALL_SCOPES, Scope
from domain.key_format import SECRET_CHARS, key_of
from storage import api_keys
from storage.postgres import Pool

OPEN = ("/healthz", "/readyz", "/v1/callbacks/{provider}", "/v1/unsubscribe/{token}")
TENANT, OTHER = "scoped", "someone-else"


@dataclass(frozen=True)
class Route:
    """A route of the document, and a request to it that reaches nothing which exists."""

    method: str
    path: str
    access: Access

    @property
    def concrete(self) -> str:
        return self.path.format(id=uuid4(), user_id="nobody", name="pigeon", prefix="00000000")


@pytest_asyncio.fixture(scope="module")
async def url(database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    config = config_with(tmp_path_factory.mktemp("config"), MANY_WRONG_KEYS)
    async with served(settings_for(database, config=config)) as url:
        yield url


@pytest_asyncio.fixture(scope="module")
async def routes(url: str) -> list[Route]:
    """Every route of the document that needs a key."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    found = [
        Route(method.upper(), path, ACCESS[method.upper(), path.removeprefix("/v1")])
        for path, methods in paths.items()
        for method in methods
        if path not in OPEN
    ]
    assert {(route.method, route.path.removeprefix("/v1")) for route in found} == ACCESS.keys()
    return found


@pytest_asyncio.fixture(scope="module")
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        yield client


async def ask(
    client: httpx.AsyncClient, route: Route, key: str | None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The status and the problem's code, or an empty string."""
    given = dict(headers or {})
    if key is not None:
        given["Authorization"] = f"Bearer {key}"
    # Its body is read only after the key was checked: an admitted request fails for another reason.
    body: dict[str, Any] = {"nonsense": True} if route.method in ("POST", "PUT", "PATCH") else {}
    answer = await client.request(
        route.method, route.concrete, headers=given, **({"json": body} if body else {})
    )
    assert answer.status_code != 500, (route, answer.text)
    return answer.status_code, "" if answer.is_success else answer.json()["code"]


ADMITTED = {401, 403}
"""Statuses that an admitted request never has."""


async def test_no_key_expired_revoked_and_unknown_keys_open_no_route(
    client: httpx.AsyncClient, routes: list[Route], pool: Pool
) -> None:
    passed = datetime.now(UTC) - timedelta(seconds=1)
    for tenant in (TENANT, None):
        expired = await api_keys.create(pool, tenant, "expired", expires_at=passed)
        revoked = await api_keys.create(pool, tenant, "revoked")
        assert await api_keys.revoke(pool, revoked.split("_")[2])
        unknown = api_keys.generate()
        cases = {None: "api_key_missing", expired: "api_key_expired"}
        cases |= {revoked: "api_key_invalid", unknown: "api_key_invalid", unknown[:-1]: "api_key_mistyped"}
        for route in routes:
            for key, code in cases.items():
                assert await ask(client, route, key) == (401, code), route


@pytest.mark.parametrize("scope", Scope)
async def test_a_tenants_key_opens_the_routes_of_its_scope_only(
    client: httpx.AsyncClient, routes: list[Route], pool: Pool, scope: Scope
) -> None:
    key = await api_keys.create(pool, TENANT, scope, scopes={scope})
    for route in routes:
        status, code = await ask(client, route, key)
        if route.access.scope is not scope:
            assert (status, code) == (403, "scope_missing"), route
        elif route.access.whose is Whose.INSTALLATION:
            assert (status, code) == (403, "installation_key_needed"), route
        else:
            assert status not in ADMITTED, (route, code)


@pytest.mark.parametrize("scope", Scope)
async def test_a_key_without_one_scope_opens_all_other_routes(
    client: httpx.AsyncClient, routes: list[Route], pool: Pool, scope: Scope
) -> None:
    key = await api_keys.create(pool, None, scope, scopes=ALL_SCOPES - {scope})
    for route in routes:
        status, code = await ask(client, route, key, {TENANT_HEADER: TENANT})
        if route.access.scope is scope:
            assert (status, code) == (403, "scope_missing"), route
        else:
            assert status not in ADMITTED, (route, code)


async def test_a_key_of_the_installation_names_the_tenant(
    client: httpx.AsyncClient, routes: list[Route], pool: Pool
) -> None:
    key = await api_keys.create(pool, None, "operator")
    for route in routes:
        of_tenant = route.access.whose is Whose.TENANT
        status, code = await ask(client, route, key)
        assert ((status, code) == (400, "tenant_missing")) is of_tenant, (route, code)
        assert status not in ADMITTED, (route, code)
        for named in ("", "two words", "test:", "test:acme", "test:test:a", "a" * 65, "-a", "*"):
            assert await ask(client, route, key, {TENANT_HEADER: named}) == (400, "tenant_invalid"), route
        status, code = await ask(client, route, key, {TENANT_HEADER: "nobody-knows-this-one"})
        assert status not in ADMITTED, (route, code)


@pytest.mark.parametrize("test", [False, True])
async def test_a_tenants_key_names_no_other_tenant(
    client: httpx.AsyncClient, routes: list[Route], pool: Pool, test: bool
) -> None:
    key = await api_keys.create(pool, TENANT, "tenant", test=test)
    own, others = (f"test:{TENANT}", TENANT) if test else (TENANT, f"test:{TENANT}")
    for route in routes:
        if route.access.whose is Whose.INSTALLATION:
            continue
        for named in (OTHER, others):
            answer = await ask(client, route, key, {TENANT_HEADER: named})
            assert answer == (403, "tenant_differs"), route
        status, code = await ask(client, route, key, {TENANT_HEADER: own})
        assert status not in ADMITTED, (route, code)


async def test_a_key_of_the_installation_acts_for_the_tenant_that_it_names(
    api: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    await api.put("/users/shared/contacts", json={"phone": "+2348031236789"})
    seen = await operator.get("/users/shared/contacts", headers={TENANT_HEADER: "bank"})
    assert seen.json()["phone"] == "+2348031236789"
    elsewhere = await operator.get("/users/shared/contacts", headers={TENANT_HEADER: "shop"})
    assert elsewhere.status_code == 404


async def test_an_expired_key_stops_when_its_time_comes(client: httpx.AsyncClient, pool: Pool) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = await api_keys.create(pool, TENANT, "soon", expires_at=soon)
    headers = {"Authorization": f"Bearer {key}"}
    assert (await client.get("/v1/notifications", headers=headers)).status_code == 200
    await pool.execute("UPDATE api_keys SET expires_at = now() WHERE prefix = $1", key.split("_")[2])

    async def code() -> str:
        answer = await client.get("/v1/notifications", headers=headers)
        return "" if answer.is_success else answer.json()["code"]

    async with asyncio.timeout(60):
        while (refused := await code()) == "":
            pass
    assert refused == "api_key_expired"


async def test_a_mistyped_key_is_refused_without_a_look_up(client: httpx.AsyncClient, pool: Pool) -> None:
    key = await api_keys.create(pool, TENANT, "typed")
    wrong = [key[:-1], key + "0", key.swapcase(), key.replace("hk_live", "hk_test")]
    wrong += [key[:place] + ("0" if key[place] != "0" else "1") + key[place + 1 :] for place in (8, 20, 54)]
    async with pool.acquire() as connection, connection.transaction():
        # A look-up would have to wait now.
        await connection.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        for mistyped in wrong:
            answer = await client.get("/v1/notifications", headers={"Authorization": f"Bearer {mistyped}"})
            expected = "api_key_invalid" if mistyped.startswith("HK") else "api_key_mistyped"
            assert (answer.status_code, answer.json()["code"]) == (401, expected), mistyped
            assert mistyped not in answer.text


async def test_a_key_of_the_first_release_is_valid(client: httpx.AsyncClient, pool: Pool) -> None:
    old = await api_keys.create(pool, TENANT, "old", "hk_0a1b2c3d_a-secret_with-both_signs")
    answer = await client.get("/v1/notifications", headers={"Authorization": f"Bearer {old}"})
    assert answer.status_code == 200


async def test_a_use_is_noted(client: httpx.AsyncClient, pool: Pool) -> None:
    used, guessed = [await api_keys.create(pool, TENANT, "used") for _ in range(2)]
    wrong = key_of(guessed.split("_")[2], "0" * SECRET_CHARS, test=False)
    for key, status in ((used, 200), (wrong, 401)):
        answer = await client.get("/v1/notifications", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status
    query = "SELECT last_used_at FROM api_keys WHERE prefix = $1"
    async with asyncio.timeout(60):
        while await pool.fetchval(query, used.split("_")[2]) is None:
            pass
    assert await pool.fetchval(query, guessed.split("_")[2]) is None
