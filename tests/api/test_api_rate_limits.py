"""429: rates of tenants, keys and addresses, and wrong keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_case import body
from api_server import config_with, served, settings_for
from starlette.types import Scope
from waiting import until

from api.client_address import ClientAddresses, group_of, ip_network
from storage import api_keys
from storage.postgres import Pool


@asynccontextmanager
async def limited(
    database: str, tmp_path: Path, rules: str, valkey: str | None = None, **others: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """An API with these rules in the section `[api]` of herald.toml."""
    settings = settings_for(
        database, config=config_with(tmp_path, rules), **({"valkey_url": valkey} if valkey else {}), **others
    )
    async with (
        served(settings) as url,
        httpx.AsyncClient(base_url=f"{url}/v1", trust_env=False, timeout=20) as client,
    ):
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def statuses(client: httpx.AsyncClient, count: int, headers: dict[str, str]) -> list[int]:
    return [(await client.get("/notifications", headers=headers)).status_code for _ in range(count)]


@pytest.mark.parametrize("rule", ["tenant_per_s = 0.01", "key_per_s = 0.01", "tenants.bank.per_s = 0.01"])
async def test_above_the_rate_the_answer_is_429(
    database: str, pool: Pool, tmp_path: Path, valkey: str, rule: str
) -> None:
    key, other = await api_keys.create(pool, "bank", "a"), await api_keys.create(pool, "shop", "b")
    async with limited(database, tmp_path, f"{rule}\nburst_s = 1000", valkey) as client:

        async def refused() -> bool:
            answers = await statuses(client, 5, bearer(key))
            return 429 in answers

        await until(refused)
        answer = await client.get("/notifications", headers=bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) >= 1
        name = "key" if rule.startswith("key") else "tenant"
        assert f'"{name}";q=10;w=1000' in answer.headers["ratelimit-policy"]
        assert f'"{name}";r=0;t=' in answer.headers["ratelimit"]
        assert set(await statuses(client, 5, bearer(other))) == {200}
        metrics = (await client.get(str(client.base_url).replace("/v1/", "/metrics"))).text
        assert f'herald_requests_refused_total{{reason="{name}_rate"}}' in metrics


async def test_a_second_process_shares_the_rate(
    database: str, pool: Pool, tmp_path: Path, valkey: str
) -> None:
    key = await api_keys.create(pool, "bank", "a")
    rules = "tenant_per_s = 0.01\nburst_s = 1000"
    async with (
        limited(database, tmp_path, rules, valkey) as first,
        limited(database, tmp_path, rules, valkey) as second,
    ):
        before = [await statuses(client, 20, bearer(key)) for client in (first, second)]
        assert 10 <= sum(answers.count(200) for answers in before) <= 14
        assert [await statuses(client, 3, bearer(key)) for client in (first, second)] == [[429] * 3] * 2


async def test_without_the_store_a_process_limits_alone(database: str, pool: Pool, tmp_path: Path) -> None:
    key = await api_keys.create(pool, "bank", "a")
    async with limited(database, tmp_path, "tenant_per_s = 0.01\nburst_s = 1000") as client:
        answers = await statuses(client, 40, bearer(key))
        assert 10 <= answers.count(200) <= 13
        assert answers[-1] == 429


async def test_a_batch_counts_its_notifications(
    database: str, pool: Pool, tmp_path: Path, valkey: str
) -> None:
    key = await api_keys.create(pool, "bank", "a")
    items = [body(idempotency_key=f"owed-{number}") for number in range(50)]
    async with limited(database, tmp_path, "tenant_per_s = 0.1\nburst_s = 100", valkey) as client:
        accepted = await client.post(
            "/notifications/batch", json={"notifications": items}, headers=bearer(key)
        )
        assert (accepted.status_code, accepted.json()["accepted"]) == (200, 50)

        async def refused() -> bool:
            return (await client.get("/notifications", headers=bearer(key))).status_code == 429

        await until(refused)


async def test_answers_say_what_is_left_once_half_is_used(
    database: str, pool: Pool, tmp_path: Path, valkey: str
) -> None:
    key = await api_keys.create(pool, "bank", "a")
    async with limited(database, tmp_path, "tenant_per_s = 0.01\nburst_s = 2000", valkey) as client:
        answers = [await client.get("/notifications", headers=bearer(key)) for _ in range(13)]
        others = [
            await client.get("/nothing", headers=bearer(key)),
            await client.get(f"/notifications/{uuid4()}", headers=bearer(key)),
            await client.get("/notifications?x=1", headers=bearer(key)),
            await client.get("/providers", headers=bearer(key)),
            await client.post("/notifications", json={}, headers=bearer(key)),
            await client.put("/users/u/contacts", json={}, headers=bearer(key)),
        ]
    assert "ratelimit" not in answers[0].headers
    assert '"tenant";r=' in answers[12].headers["ratelimit"]
    assert [answer.status_code for answer in others] == [404, 404, 422, 403, 422, 200]
    # A route that does not exist asks for no key.
    assert ["ratelimit" in answer.headers for answer in others] == [False, True, True, True, True, True]


async def test_guessed_keys_are_refused_and_others_work_on(database: str, pool: Pool, tmp_path: Path) -> None:
    key = await api_keys.create(pool, "bank", "a")
    async with limited(database, tmp_path, "key_failures_per_minute = 20") as client:
        assert await statuses(client, 1, bearer(key)) == [200]
        answers = [
            (await client.get("/notifications", headers=bearer(api_keys.generate()))).status_code
            for _ in range(40)
        ]
        assert answers[:20] == [401] * 20
        assert answers.count(429) >= 15
        answer = await client.get("/notifications", headers=bearer(api_keys.generate()))
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_failures")
        assert int(answer.headers["retry-after"]) >= 1
        assert set(await statuses(client, 3, bearer(key))) == {200}


async def test_unsigned_callbacks_are_refused_by_address(database: str, tmp_path: Path) -> None:
    async with limited(database, tmp_path, "callback_failures_per_minute = 3") as client:
        answers = [(await client.post("/callbacks/mailgun", content=b"{}")).status_code for _ in range(6)]
        assert answers == [401] * 3 + [429] * 3
        # Health and metrics are not limited.
        assert (await client.get(str(client.base_url).replace("/v1/", "/healthz"))).status_code == 200


async def test_an_address_has_a_rate_of_its_own(database: str, pool: Pool, tmp_path: Path) -> None:
    key = await api_keys.create(pool, "bank", "a")
    rules = "address_per_s = 0.01\nburst_s = 500"
    proxies = {"trusted_proxies": "127.0.0.0/8"}
    async with limited(database, tmp_path, rules, **proxies) as client:

        async def from_address(address: str) -> list[int]:
            return await statuses(client, 7, bearer(key) | {"X-Forwarded-For": address})

        assert await from_address("192.0.2.1") == [200] * 5 + [429] * 2
        assert await from_address("192.0.2.2") == [200] * 5 + [429] * 2
        # What precedes the last address was written by the client.
        assert await from_address("198.51.100.9, 192.0.2.1") == [429] * 7
        assert await from_address("2001:db8::1") == [200] * 5 + [429] * 2
        assert await from_address("2001:db8::2") == [429] * 7
    async with limited(database, tmp_path, rules) as client:
        answers = [
            (await client.get("/notifications", headers=bearer(key) | {"X-Forwarded-For": f"192.0.2.{n}"}))
            for n in range(7)
        ]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("203.0.113.5", "192.0.2.1", "203.0.113.5"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.1, garbage", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", None, "192.0.2.7"),
        ("2001:db8::5", "192.0.2.1", "192.0.2.1"),
        (None, None, "unknown"),
    ],
)
def test_whose_address_counts(peer: str | None, forwarded: str | None, counted: str) -> None:
    addresses = ClientAddresses([ip_network("10.0.0.0/8"), ip_network("2001:db8::5/128")])
    scope: Scope = {
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", part.encode()) for part in ([forwarded] if forwarded else [])],
    }
    assert addresses.of(scope) == counted


def test_several_lines_of_forwarded_for_are_one_list() -> None:
    addresses = ClientAddresses([ip_network("10.0.0.0/8")])
    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"10.0.0.2")]
    assert addresses.of({"client": ("10.0.0.1", 1), "headers": headers}) == "192.0.2.1"
    assert group_of("not an address") == "unknown"
