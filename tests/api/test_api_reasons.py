"""An API that requires reasons: every act without one is refused, and a client's work needs none."""

from collections.abc import AsyncIterator, Collection

import httpx
import pytest
import pytest_asyncio
from api_case import PHONE, Parked, Submit
from api_server import served, settings_for
from audited_acts import AUDITED, WHY, Asked, Prepare, Stage, call

from api.access import access_of
from domain.access import ALL_SCOPES, Scope
from domain.audit import Action
from storage import api_keys
from storage.postgres import Pool

ACTS = [one for one in AUDITED if not one[1].startswith("get ")]
CLIENTS_ACTS = {Action.BROADCAST_CREATE, Action.BROADCAST_START, Action.NOTIFICATION_CANCEL}
"""Acts that are a client's ordinary work with a key that may send and not operate."""
by_name = pytest.mark.parametrize(
    ("action", "operation", "prepare"), ACTS, ids=lambda one: getattr(one, "__name__", one)
)


@pytest_asyncio.fixture(scope="module")
async def strict_url(database: str) -> AsyncIterator[str]:
    async with served(settings_for(database, audit_reason_required=True)) as url:
        yield f"{url}/v1"


async def strict(
    url: str, pool: Pool, asked: Asked, scopes: Collection[Scope] = ALL_SCOPES
) -> httpx.AsyncClient:
    """A client of the strict API whose key may send this request."""
    key = await api_keys.create(pool, None if asked.installation else "bank", "strict", scopes=scopes)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20)


@pytest.fixture
def stage(api: httpx.AsyncClient, operator: httpx.AsyncClient, parked: Parked, submit: Submit) -> Stage:
    return Stage(api, operator, parked, submit)


@by_name
async def test_an_act_without_a_reason_is_refused(
    strict_url: str, pool: Pool, stage: Stage, action: Action, operation: str, prepare: Prepare
) -> None:
    asked = await prepare(stage)
    before = await pool.fetchval("SELECT COALESCE(max(sequence), 0) FROM audit_log")
    async with await strict(strict_url, pool, asked) as client:
        for why in ({}, {"Herald-Reason": ""}, {"Herald-Reason": "UTF-8''%20"}):
            refused = await call(client, operation, asked, why)
            assert (refused.status_code, refused.json()["code"]) == (400, "reason_missing"), why
        done = await call(client, operation, asked, WHY)
    assert done.is_success, done.text
    (entry,) = await pool.fetch("SELECT action, reason FROM audit_log WHERE sequence > $1", before)
    assert (entry["action"], entry["reason"]) == (action, "ticket 4711")


@by_name
async def test_a_client_that_only_sends_needs_no_reason_for_its_work(
    strict_url: str, pool: Pool, stage: Stage, action: Action, operation: str, prepare: Prepare
) -> None:
    method, _, path = operation.partition(" ")
    asked = await prepare(stage)
    async with await strict(strict_url, pool, asked, {Scope.SEND, Scope.READ}) as client:
        done = await call(client, operation, asked, {})
    if access_of([method.upper()], path).scope is not Scope.SEND:
        expected = (403, "scope_missing")
    elif action not in CLIENTS_ACTS:
        expected = (400, "reason_missing")
    else:
        assert done.is_success, done.text
        return
    assert (done.status_code, done.json()["code"]) == expected


async def test_looking_needs_no_reason(strict_url: str, pool: Pool, stage: Stage) -> None:
    for _, operation, prepare in AUDITED:
        if operation.startswith("get "):
            asked = await prepare(stage)
            async with await strict(strict_url, pool, asked) as client:
                assert (await call(client, operation, asked, {})).is_success, operation
    async with await strict(strict_url, pool, Asked("", "")) as client:
        assert (await client.put("/users/ada/contacts", json={"phone": PHONE})).is_success
        assert (await client.post("/dead-letters/replay", json={"filter": {}})).is_success
