"""Keys over REST: within reach of the calling key, and never with more than it has."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.access import ALL_SCOPES, Scope
from domain.key_format import PATTERN, is_intact
from storage import api_keys
from storage.postgres import Pool

Client = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest_asyncio.fixture
async def client(url: str, pool: Pool) -> AsyncIterator[Client]:
    """Clients with new keys: `await client("acme", scopes={…}, test=True)`."""
    async with AsyncExitStack() as stack:

        async def connect(tenant: str | None, **options: Any) -> httpx.AsyncClient:
            key = await api_keys.create(pool, tenant, "creator", **options)
            return await stack.enter_async_context(connected(url, key))

        yield connect


def connected(url: str, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=f"{url}/v1", headers=headers, trust_env=False, timeout=30)


def wanted(**changes: Any) -> dict[str, Any]:
    return {"name": "checkout", "scopes": ["send", "read"], **changes}


async def test_a_created_key_works_is_listed_and_is_revoked(url: str, client: Client) -> None:
    admin = await client("cycle")
    expires_at = datetime.now(UTC) + timedelta(days=90)
    answer = await admin.post("/keys", json=wanted(expires_at=expires_at.isoformat()))
    assert answer.status_code == 201, answer.text
    created = answer.json()
    key = created.pop("key")
    assert re.fullmatch(PATTERN, key)
    assert is_intact(key)
    assert key.split("_")[1:3] == ["live", created["prefix"]]
    assert (created["tenant"], created["test"], created["scopes"]) == ("cycle", False, ["send", "read"])
    assert created["created_by"] == admin.headers["Authorization"].split("_")[2]
    assert created["last_used_at"] is created["revoked_at"] is None

    async with connected(url, key) as new:
        assert (await new.get("/notifications")).status_code == 200
        assert (await new.get("/keys")).json()["code"] == "scope_missing"
        listed: dict[str, Any] = {}
        async with asyncio.timeout(60):
            while listed.get("last_used_at") is None:
                keys = (await admin.get("/keys")).json()["keys"]
                (listed,) = [one for one in keys if one["prefix"] == created["prefix"]]
        assert {**listed, "last_used_at": None} == created
        assert key not in (await admin.get("/keys")).text

        assert (await admin.delete(f"/keys/{created['prefix']}")).status_code == 204
        async with asyncio.timeout(60):
            while (await new.get("/notifications")).status_code != 401:
                pass
    again = await admin.delete(f"/keys/{created['prefix']}")
    assert (again.status_code, again.json()["code"]) == (404, "key_not_found")
    keys = (await admin.get("/keys")).json()["keys"]
    assert [one["revoked_at"] is not None for one in keys] == [True, False]


@pytest.mark.parametrize("scope", Scope)
async def test_no_key_grants_what_it_lacks(client: Client, scope: Scope) -> None:
    for tenant in ("grants", None):
        admin = await client(tenant, scopes=(ALL_SCOPES - {scope}) | {Scope.ADMIN})
        answer = await admin.post("/keys", json=wanted(scopes=[scope, "admin"]))
        if scope is Scope.ADMIN:
            assert answer.status_code == 201
            continue
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (403, "scope_missing")
        assert problem["errors"][0]["pointer"] == "/scopes"
        allowed = await admin.post("/keys", json=wanted(scopes=sorted(ALL_SCOPES - {scope})))
        assert allowed.status_code == 201


@pytest.mark.parametrize("tenant", ["lives", None])
@pytest.mark.parametrize("test", [False, True])
async def test_no_key_outlives_its_creator(client: Client, tenant: str | None, test: bool) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    admin = await client(tenant, test=test and tenant is not None, expires_at=ends)
    for later in (None, ends + timedelta(seconds=1), ends + timedelta(days=400)):
        expires_at = later and later.isoformat()
        answer = await admin.post("/keys", json=wanted(expires_at=expires_at, test=test, tenant="lives"))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (403, "key_outlives_creator")
        assert problem["errors"][0]["pointer"] == "/expires_at"
    for allowed in (ends, ends - timedelta(hours=1)):
        body = wanted(expires_at=allowed.isoformat(), test=test, tenant="lives")
        answer = await admin.post("/keys", json=body)
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now()"])
async def test_a_key_that_just_ended_creates_no_other(client: Client, pool: Pool, end: str) -> None:
    """The process still knows it for a while."""
    admin = await client("ended")
    prefix = admin.headers["Authorization"].split("_")[2]
    assert (await admin.get("/keys")).status_code == 200
    await pool.execute(f"UPDATE api_keys SET {end} WHERE prefix = $1", prefix)
    answer = await admin.post("/keys", json=wanted())
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE created_by = $1", prefix) == 0


async def test_a_tenants_admin_reaches_its_tenants_keys_only(client: Client, pool: Pool) -> None:
    admin, other, operator = await client("mine"), await client("theirs"), await client(None)
    for tenant in ("theirs", "test:mine"):
        refused = await admin.post("/keys", json=wanted(tenant=tenant))
        assert refused.status_code in (403, 422), refused.text
    theirs = (await other.post("/keys", json=wanted(tenant="theirs"))).json()
    of_installation = (await operator.post("/keys", json=wanted())).json()
    assert of_installation["tenant"] is None
    for prefix in (theirs["prefix"], of_installation["prefix"], "00000000"):
        answer = await admin.delete(f"/keys/{prefix}")
        assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")
    assert {key["tenant"] for key in (await admin.get("/keys")).json()["keys"]} == {"mine"}


async def test_the_installations_admin_reaches_all_keys(client: Client) -> None:
    operator, admin = await client(None), await client("reached")
    made = (await operator.post("/keys", json=wanted(tenant="reached", test=True))).json()
    assert (made["tenant"], made["test"]) == ("reached", True)
    every = (await operator.get("/keys?limit=200")).json()["keys"]
    assert {None, "reached"} <= {key["tenant"] for key in every}
    named = {"Herald-Tenant": "reached"}
    narrowed = (await operator.get("/keys", headers=named)).json()["keys"]
    assert {key["tenant"] for key in narrowed} == {"reached"}
    assert (await operator.post("/keys", json=wanted(), headers=named)).json()["tenant"] == "reached"
    for one in narrowed:
        assert (await operator.delete(f"/keys/{one['prefix']}")).status_code == 204
    assert (await operator.post("/keys", json=wanted(test=True))).json()["errors"][0]["pointer"] == "/tenant"
    async with asyncio.timeout(60):
        while (await admin.get("/keys")).status_code != 401:
            pass


async def test_a_test_key_manages_test_keys_only(client: Client) -> None:
    live, test = await client("both"), await client("both", test=True)
    made = (await test.post("/keys", json=wanted())).json()
    assert (made["tenant"], made["test"], made["key"][:8]) == ("both", True, "hk_test_")
    refused = await test.post("/keys", json=wanted(test=False))
    assert refused.json()["errors"][0]["pointer"] == "/test"
    of_live = (await live.post("/keys", json=wanted())).json()
    assert (await test.delete(f"/keys/{of_live['prefix']}")).status_code == 404
    assert {key["test"] for key in (await test.get("/keys")).json()["keys"]} == {True}
    assert {key["test"] for key in (await live.get("/keys")).json()["keys"]} == {True, False}
    assert (await live.delete(f"/keys/{made['prefix']}")).status_code == 204


async def test_pages_hold_every_key_once(client: Client) -> None:
    admin = await client("pages")
    made = [(await admin.post("/keys", json=wanted(name=f"key {n}"))).json()["prefix"] for n in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await admin.get(f"/keys?limit=2{cursor}")).json()
        seen += [key["prefix"] for key in page["keys"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen[:5] == made[::-1]
    assert len(seen) == len(set(seen)) == 6
    for wrong in ("x", "eA==", "MjAyNi0wMS0wMSBh"):
        answer = await admin.get(f"/keys?cursor={wrong}")
        assert answer.json()["errors"][0]["code"] == "invalid_cursor", wrong


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "till\x1b[2J"}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["all"]}, "/scopes/0"),
        ({"tenant": "-"}, "/tenant"),
        ({"tenant": "test:acme"}, "/tenant"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires": "soon"}, "/expires"),
    ],
)
async def test_an_invalid_key_is_refused(client: Client, changes: dict[str, Any], pointer: str) -> None:
    answer = await (await client(None)).post("/keys", json=wanted(**changes))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
