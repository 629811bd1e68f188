"""Listing the audit log over REST; reasons and request ids; and what the log must never hold."""

from collections.abc import Collection
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from api_case import PHONE, together
from api_server import settings_for

from api.access import TENANT_HEADER
from domain.access import ALL_SCOPES, Scope
from domain.audit import ChainCheck, chain_key
from storage import api_keys
from storage.audit_queries import AuditReader
from storage.postgres import Pool


async def client_of(url: str, pool: Pool, tenant: str | None, scopes: Collection[Scope]) -> httpx.AsyncClient:
    key = await api_keys.create(pool, tenant, "tests", scopes=scopes)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=f"{url}/v1", headers=headers, trust_env=False, timeout=20)


def prefix_of(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"].split("_")[2]


async def suppress(api: httpx.AsyncClient, address: str, **headers: Any) -> httpx.Response:
    return await api.post(
        "/suppressions", json={"channel": "email", "address": address}, headers=headers or None
    )


async def entries(api: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get("/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


async def test_a_tenant_sees_its_own_entries_newest_first(
    api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    for number in range(3):
        assert (await suppress(api, f"a{number}@own.example")).status_code == 201
        assert (await suppress(other, f"b{number}@other.example")).status_code == 201
    own, others = await entries(api), await entries(other)
    assert {entry["tenant"] for entry in own} == {"bank"}
    assert {entry["tenant"] for entry in others} == {"shop"}
    sequences = [entry["sequence"] for entry in own]
    assert sequences == sorted(sequences, reverse=True)
    assert await entries(api, tenant="shop") == []
    assert await entries(api, tenant="bank") == own


async def test_a_key_of_the_installation_sees_every_entry_or_a_tenants(
    api: httpx.AsyncClient, other: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    for status in ("drained", "active"):
        # Naming a tenant makes it no act about the tenant.
        await operator.patch("/providers/twilio", json={"status": status}, headers={TENANT_HEADER: "bank"})
    made = await operator.post("/keys", json={"name": "till", "scopes": ["send"], "tenant": "shop"})
    prefix = made.json()["prefix"]
    every = await entries(operator, limit=200)
    assert {entry["tenant"] for entry in every} == {None, "bank", "shop"}
    created, activated, drained = every[:3]
    assert (created["tenant"], created["action"], created["subject"]) == ("shop", "key.create", prefix)
    assert {(entry["tenant"], entry["subject"]) for entry in (activated, drained)} == {(None, "twilio")}
    assert {entry["actor"] for entry in every[:3]} == {f"key:{prefix_of(operator)}"}
    # A tenant sees who acted on its objects, and nothing of the installation's or of other tenants.
    assert (await entries(other))[0] == created
    assert created not in await entries(api, limit=200)
    for client in (api, other):
        assert await entries(client, action="provider.drain") == []
    for narrowed in (
        await entries(operator, tenant="shop", limit=200),
        (await operator.get("/audit?limit=200", headers={TENANT_HEADER: "shop"})).json()["entries"],
    ):
        assert narrowed == [entry for entry in every if entry["tenant"] == "shop"]


@pytest.mark.parametrize("whose", [None, "bank"])
async def test_the_log_needs_the_scope_admin(url: str, pool: Pool, whose: str | None) -> None:
    for scope in Scope:
        async with await client_of(url, pool, whose, {scope}) as client:
            answer = await client.get("/audit")
            assert answer.status_code == (200 if scope is Scope.ADMIN else 403), scope


async def test_only_a_reading_in_clear_is_recorded(url: str, api: httpx.AsyncClient, pool: Pool) -> None:
    email, token = "ada@read.example", "a-token-of-the-tests"
    await api.put("/users/read/contacts", json={"phone": PHONE, "email": email})
    await api.put("/users/read/devices", json={"devices": [{"device_id": "phone", "fcm_token": token}]})
    await suppress(api, email)
    readings = {
        "/users/read/contacts": ("contacts.read", "read"),
        "/users/read/devices": ("devices.read", "read"),
        f"/suppressions?channel=email&address={email}": ("suppressions.read", "email a•••@read.example"),
    }
    async with (
        await client_of(url, pool, "bank", ALL_SCOPES - {Scope.READ_PII}) as masked,
        await client_of(url, pool, "bank", ALL_SCOPES) as clear,
    ):
        for path, (action, subject) in readings.items():
            before = (await entries(api, limit=1))[0]["sequence"]
            hidden = await masked.get(path)
            assert hidden.status_code == 200, hidden.text
            assert not any(address in hidden.text for address in (PHONE, email, token)), path
            assert "•" in hidden.text or "…" in hidden.text
            assert (await entries(api, limit=1))[0]["sequence"] == before
            shown = await clear.get(path)
            assert any(address in shown.text for address in (PHONE, email, token)), path
            newest = (await entries(api, limit=1))[0]
            assert newest["sequence"] == before + 1
            assert (newest["action"], newest["subject"]) == (action, subject)
            assert newest["actor"] == f"key:{prefix_of(clear)}"


async def test_entries_are_paged_and_filtered(api: httpx.AsyncClient) -> None:
    for number in range(5):
        await suppress(api, f"p{number}@page.example")
    whole = await entries(api, action="suppression.add", limit=200)
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"action": "suppression.add", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/audit", params=query)).json()
        found += page["entries"]
        cursor = page["next_cursor"]
    assert found == whole
    newest = whole[0]
    assert await entries(api, subject="email p•••@page.example", actor=newest["actor"], limit=1) == [newest]
    assert await entries(api, until=whole[-1]["at"], action="suppression.add") == []
    assert newest in await entries(api, since=newest["at"])
    assert (newest["previous_hash"], len(newest["hash"])) != (newest["hash"], 0)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"action": "provider.explode"}, "/query/action"),
        ({"since": "yesterday"}, "/query/since"),
        ({"cursor": "nonsense"}, "/query/cursor"),
        ({"cursor": "MjAyNi0xMS0zMFQwMDowMDowMCswMDowMCA5OTk5OTk5OTk5OTk5OTk5OTk5OQ"}, "/query/cursor"),
        ({"limit": 0}, "/query/limit"),
        ({"before": "x"}, "/query/before"),
    ],
)
async def test_an_invalid_filter_is_refused(api: httpx.AsyncClient, query: Any, pointer: str) -> None:
    answer = await api.get("/audit", params=query)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"ticket 4711", "ticket 4711"),
        (b"50% of sends fail", "50% of sends fail"),
        ("für Ada – 日本".encode(), "für Ada – 日本"),
        ("für Ada".encode("latin-1"), "für Ada"),
        (f"UTF-8''{quote('für Ada, 100%')}".encode(), "für Ada, 100%"),
        (b"x" * 500, "x" * 500),
        (b"", None),
        (b"UTF-8''%20%20", None),
        (f"utf-8'de-AT'{quote('für Ada')}".encode(), "für Ada"),
        (b"UTF-8'en'call%200803%20123%200077%20back", "call [private] back"),
        (b"UTF-8'not a language'%41", "UTF-8'not a language'%41"),
        (f"called {PHONE} and ada@example.com".encode(), "called [private] and [private]"),
        (b"call 0803 123 0077 back", "call [private] back"),
        (b"call (0803) 123-0077, or 0712.345.678", "call [private], or [private]"),
        (
            b"since 2026-11-30 06:48, 1,500.00 lost: INC-4711",
            "since 2026-11-30 06:48, 1,500.00 lost: INC-4711",
        ),
        (b"leaked hk_12345678_abcdef", "leaked [private]"),
        (b"leaked hk_live_12345678_abcdef", "leaked [private]"),
    ],
)
async def test_a_reason_is_kept_without_addresses(
    operator: httpx.AsyncClient, given: bytes, kept: str | None
) -> None:
    headers: list[Any] = [(b"Herald-Reason", given)]
    for status in ("drained", "active"):
        answer = await operator.patch("/providers/twilio", json={"status": status}, headers=headers)
        assert answer.status_code == 200, answer.text
    assert [entry["reason"] for entry in await entries(operator, subject="twilio", limit=2)] == [kept, kept]


@pytest.mark.parametrize(
    "values",
    [
        [b"x" * 501],
        [b"UTF-8''a%0Ab"],
        [b"UTF-8''%1B[2J"],
        [b"UTF-8''%FF%FE"],
        [b"one", b"two"],
        ["a\u202eb".encode()],
    ],
)
async def test_a_malformed_reason_is_refused_and_nothing_is_done(
    operator: httpx.AsyncClient, values: list[bytes]
) -> None:
    headers: list[Any] = [(b"Herald-Reason", value) for value in values]
    answer = await operator.patch("/providers/mailgun", json={"status": "drained"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "reason_invalid")
    assert await entries(operator, subject="mailgun") == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-Id": "req-1/2:3=4"}, "req-1/2:3=4"),
        ({"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, "ab" * 16),
        ({"X-Request-Id": "mine", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, "mine"),
        ({"X-Request-Id": "x" * 128}, "x" * 128),
        ({"X-Request-Id": "x" * 129}, None),
        ({"X-Request-Id": "two words"}, None),
        ({"X-Request-Id": "ada@example.com/+2348031230077"}, None),
        ({"X-Request-Id": "req-08031230077"}, None),
        ({"X-Request-Id": "ada@example.com", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, "ab" * 16),
        ({"X-Request-Id": '"><script>'}, None),
        ({"traceparent": f"00-{'0' * 32}-{'cd' * 8}-01"}, None),
        ({"traceparent": "00-xyz"}, None),
        ({}, None),
    ],
)
async def test_a_request_has_one_id(
    api: httpx.AsyncClient, headers: dict[str, str], expected: str | None
) -> None:
    await suppress(api, "id@example.com")
    done = await api.delete(
        "/suppressions", params={"channel": "email", "address": "id@example.com"}, headers=headers
    )
    refused = await api.get("/notifications/nonsense", headers=headers)
    given = done.headers["x-request-id"]
    (entry,) = await entries(api, action="suppression.remove", limit=1)
    assert entry["request_id"] == given
    if expected:
        assert given == refused.headers["x-request-id"] == expected
    else:
        assert len(given) == len(refused.headers["x-request-id"]) == 32
        assert given != refused.headers["x-request-id"]


async def test_every_error_has_a_request_id(api: httpx.AsyncClient) -> None:
    for answer in (
        await api.get("/nowhere"),
        await api.get("/audit", headers={"Authorization": "Bearer hk_00000000_x"}),
        await api.post("/notifications", content=b"{", headers={"Content-Type": "application/json"}),
        await api.post("/notifications", json={}),
        await api.put("/nowhere"),
        await api.post("/notifications", content=b"x" * 1_000_001),
        await api.get("/notifications?" + "a&" * 200),
        await api.get("/unsubscribe/x", headers={"Accept": "application/json"}),
    ):
        assert len(answer.headers["x-request-id"]) == 32, answer.text
    # A submission needs none.
    listed = await api.get("/notifications")
    assert "x-request-id" not in listed.headers


async def test_a_reading_that_cannot_be_recorded_is_not_answered(
    api: httpx.AsyncClient, operator: httpx.AsyncClient, database: str
) -> None:
    await api.put("/users/secret/contacts", json={"phone": PHONE})
    admin = await asyncpg.connect(database)
    await admin.execute("ALTER TABLE audit_log RENAME TO audit_log_away")
    try:
        answer = await api.get("/users/secret/contacts")
        act = await operator.patch("/providers/mailgun", json={"status": "drained"})
    finally:
        await admin.execute("ALTER TABLE audit_log_away RENAME TO audit_log")
    assert (answer.status_code, act.status_code) == (500, 500)
    assert PHONE not in answer.text
    assert await admin.fetchval("SELECT count(*) FROM providers WHERE name = 'mailgun'") == 0
    await admin.close()
    assert (await api.get("/users/secret/contacts")).json()["phone"] == PHONE


async def test_two_who_drain_at_once_leave_one_entry(operator: httpx.AsyncClient, pool: Pool) -> None:
    await operator.patch("/providers/twilio", json={"status": "active"})
    before = await pool.fetchval("SELECT count(*) FROM audit_log")
    drains = [operator.patch("/providers/twilio", json={"status": "drained"}) for _ in range(10)]
    assert {answer.status_code for answer in await together(*drains)} == {200}
    assert await pool.fetchval("SELECT count(*) FROM audit_log") == before + 1


async def test_the_metrics_count_entries_and_the_log_is_whole(
    url: str, api: httpx.AsyncClient, pool: Pool, database: str
) -> None:
    await suppress(api, "metric@example.com")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        exposed = (await client.get("/metrics")).text
    assert 'herald_audit_entries_total{action="suppression.add"}' in exposed
    check = ChainCheck(chain_key(settings_for(database).secret_key.get_secret_value()))
    await AuditReader(pool).read_chain(check.take)
    check.finish()
    assert check.last is not None
    assert f'"{check.last.hash.hex()}"' in (await api.get("/audit", params={"limit": 1})).text
