"""A test key and the live keys of its tenant neither see nor change anything of each other's."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from api_case import body

from domain.notification import Channel
from domain.replies import Reply, Word
from storage import api_keys
from storage.api_keys import NoTestKeysYet
from storage.migrate import Phase, Release, migrate
from storage.postgres import Pool
from storage.users import Users


@pytest_asyncio.fixture(scope="module")
async def test_api(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a test key of the tenant `bank`."""
    key = await api_keys.create(pool, "bank", "tests", test=True)
    assert key.startswith("hk_test_")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client


async def submitted(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    answer = await client.post("/notifications", json=body(user_id="both"), headers={"Idempotency-Key": key})
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_notifications_and_idempotency_keys_are_apart(
    api: httpx.AsyncClient, test_api: httpx.AsyncClient
) -> None:
    live, test = await submitted(api, "same"), await submitted(test_api, "same")
    assert live["id"] != test["id"]
    assert (live["test"], test["test"]) == (False, True)
    for client, own, other in ((api, live, test), (test_api, test, live)):
        shown = (await client.get(f"/notifications/{own['id']}")).json()
        assert shown["test"] is own["test"]
        for path in ("", "/attempts", "/timeline"):
            assert (await client.get(f"/notifications/{other['id']}{path}")).status_code == 404
        assert (await client.post(f"/notifications/{other['id']}/cancel")).status_code == 404
        listed = (await client.get("/notifications?user_id=both")).json()["notifications"]
        assert [one["id"] for one in listed] == [own["id"]]
    batch = {"notifications": [body(idempotency_key="in a batch")]}
    results = (await test_api.post("/notifications/batch", json=batch)).json()["results"]
    assert [one["notification"]["test"] for one in results] == [True]


async def test_users_and_suppressions_are_apart(api: httpx.AsyncClient, test_api: httpx.AsyncClient) -> None:
    for path, stored in (
        ("/users/apart/contacts", {"phone": "+12025550100"}),
        ("/users/apart/preferences", {"types": {"*": {"sms": False}}}),
        ("/users/apart/devices", {"devices": [{"device_id": "a", "fcm_token": "unavailable-1"}]}),
    ):
        assert (await test_api.put(path, json=stored)).status_code == 200
        if path.endswith("contacts"):
            assert (await api.get(path)).status_code == 404
    address = {"channel": "email", "address": "bounced@example.com"}
    assert (await test_api.post("/suppressions", json=address)).status_code == 201
    assert (await api.get("/suppressions", params=address)).json()["suppressions"] == []


async def test_a_stop_holds_for_test_keys_too(test_api: httpx.AsyncClient, pool: Pool) -> None:
    number = "+12025550150"
    await Users(pool).record_reply("twilio", Reply(Channel.SMS, number, Word.STOP))
    address = {"channel": "sms", "address": number}
    (found,) = (await test_api.get("/suppressions", params=address)).json()["suppressions"]
    assert found["reason"] == "stop"
    assert (await test_api.delete("/suppressions", params=address)).status_code == 409
    assert (await test_api.get("/suppressions", params={"channel": "sms"})).json()["suppressions"] == []


async def test_broadcasts_are_apart(api: httpx.AsyncClient, test_api: httpx.AsyncClient) -> None:
    broadcast = {
        "type": "marketing",
        "channels": ["sms"],
        "template": {"body": "Hello"},
        "audience": {"kind": "list", "recipients": [{"user_id": "both"}]},
    }
    made = [
        (await client.post("/broadcasts", json=broadcast, headers={"Idempotency-Key": "same"})).json()
        for client in (api, test_api)
    ]
    assert [one["test"] for one in made] == [False, True]
    assert made[0]["id"] != made[1]["id"]
    for command in ("pause", "cancel"):
        assert (await api.post(f"/broadcasts/{made[1]['id']}/{command}")).status_code == 404


async def test_there_are_no_test_keys_while_processes_of_the_first_release_may_run(
    own_database: str, pool: Pool
) -> None:
    """They would send what a test key submits through real vendors: only the after phase admits one."""
    connection = await asyncpg.connect(own_database)
    constraint = "api_keys_no_test_keys_yet"
    # As between `herald migrate --before` and `herald migrate --after`.
    await connection.execute(f"ALTER TABLE api_keys ADD CONSTRAINT {constraint} CHECK (NOT test)")
    after = next(Release().migrations.glob("*_after_test_keys.sql")).stem
    await connection.execute("DELETE FROM schema_migrations WHERE name = $1", after)
    with pytest.raises(NoTestKeysYet, match="herald migrate --after"):
        await api_keys.create(connection, "bank", "early", test=True)
    await api_keys.create(connection, "bank", "live")
    assert await migrate(own_database, [Phase.AFTER]) == [after]
    await api_keys.create(connection, "bank", "late", test=True)
    await connection.close()


@pytest.mark.parametrize("tenant", ["test:bank", "", "two words", "*", "x" * 65])
async def test_no_key_belongs_to_an_invalid_tenant(pool: Pool, tenant: str) -> None:
    with pytest.raises(ValueError, match="not the name of a tenant"):
        await api_keys.create(pool, tenant, "tests")
