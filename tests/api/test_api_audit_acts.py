"""Every act of an operator and every reading in clear leaves one audit entry; no route is forgotten."""

from uuid import uuid4

import httpx
import pytest
from api_case import Parked, Submit
from audited_acts import AUDITED, Prepare, Stage, call

from domain.audit import Action
from storage import api_keys
from storage.postgres import Pool

_SENDING = "a client's ordinary work; the notification keeps who sent it"
_USERS = "a client's ordinary work, at the rate at which its users change"
_NO_ADDRESS = "it shows no address, or a masked one"
UNAUDITED = {
    "post /notifications": _SENDING,
    "post /notifications/batch": _SENDING,
    "put /users/{user_id}/contacts": _USERS,
    "put /users/{user_id}/devices": f"{_USERS}; it shows the devices that were given",
    "put /users/{user_id}/preferences": _USERS,
    "post /callbacks/{provider}": "a provider acts",
    "get /callbacks/{provider}": "a provider's challenge",
    "get /unsubscribe/{token}": _NO_ADDRESS,
    "post /unsubscribe/{token}": "the recipient acts; the notification's timeline records it",
    "get /users/{user_id}/preferences": _NO_ADDRESS,
    "get /notifications": _NO_ADDRESS,
    "get /notifications/{id}": _NO_ADDRESS,
    "get /dead-letters": _NO_ADDRESS,
    "get /providers": _NO_ADDRESS,
    "get /broadcasts": _NO_ADDRESS,
    "get /broadcasts/{id}": _NO_ADDRESS,
    "get /broadcasts/{id}/refused": _NO_ADDRESS,
    "get /limits": _NO_ADDRESS,
    "get /keys": "it shows no address and no secret",
    "get /audit": _NO_ADDRESS,
}
"""Routes whose requests leave no entry, and why."""


async def test_every_route_is_audited_or_says_why_not(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    routes = {
        f"{method} {path.removeprefix('/v1')}"
        for path, operations in paths.items()
        for method in operations
        if path.startswith("/v1")
    }
    audited = {operation for _, operation, _ in AUDITED}
    assert audited & UNAUDITED.keys() == set()
    assert routes == audited | UNAUDITED.keys()


def test_every_action_is_tried() -> None:
    assert {action for action, _, _ in AUDITED} == set(Action)


@pytest.mark.parametrize(
    ("action", "operation", "prepare"), AUDITED, ids=lambda one: getattr(one, "__name__", one)
)
async def test_an_act_or_reading_leaves_one_entry(
    api: httpx.AsyncClient, operator: httpx.AsyncClient, parked: Parked, submit: Submit, pool: Pool,
    action: Action, operation: str, prepare: Prepare,
) -> None:  # fmt: skip
    asked = await prepare(Stage(api, operator, parked, submit))
    client, tenant = (operator, None) if asked.installation else (api, "bank")
    before = await pool.fetchval("SELECT COALESCE(max(sequence), 0) FROM audit_log")
    answer = await call(client, operation, asked)
    assert answer.is_success, answer.text
    (row,) = await pool.fetch("SELECT * FROM audit_log WHERE sequence > $1", before)
    prefix = client.headers["authorization"].split("_")[2]
    assert (row["actor"], row["actor_name"], row["tenant"]) == (f"key:{prefix}", "tests", tenant)
    assert (row["action"], row["reason"]) == (action, "ticket 4711")
    assert row["subject"] == (asked.subject or answer.json().get("id") or answer.json()["prefix"])
    after = row["after"]
    if asked.after and ... in asked.after.values():
        after = {**after, "at": ...}
    assert (row["before"], after) == (asked.before, asked.after)
    assert row["request_id"] == answer.headers["x-request-id"]
    again = await call(client, operation, asked)
    count = await pool.fetchval("SELECT count(*) FROM audit_log WHERE sequence > $1", before)
    # A reading leaves another entry, as does another key. An act that changes nothing leaves none, however it
    # is answered.
    repeats = operation.startswith("get") or action is Action.KEY_CREATE
    assert count == (2 if repeats else 1), again.text


async def test_what_is_refused_or_shows_nothing_leaves_no_entry(
    api: httpx.AsyncClient, operator: httpx.AsyncClient, submit: Submit, pool: Pool
) -> None:
    id = (await submit())["id"]
    await api.put("/users/empty/contacts", json={})
    of_installation = (await operator.post("/keys", json={"name": "x", "scopes": ["read"]})).json()["prefix"]
    before = await pool.fetchval("SELECT count(*) FROM audit_log")
    for name in ("pigeon", "termii"):
        refused = await operator.patch(f"/providers/{name}", json={"status": "drained"})
        assert refused.status_code in (404, 409), refused.text
    for method, path, body in (
        ("PATCH", "/providers/twilio", {"status": "drained"}),
        ("POST", f"/dead-letters/{id}/retry", {}),
        ("POST", f"/dead-letters/{id}/discard", None),
        ("POST", f"/dead-letters/{uuid4()}/discard", None),
        ("POST", "/dead-letters/replay", {"filter": {}, "dry_run": True}),
        ("POST", f"/notifications/{uuid4()}/cancel", None),
        ("POST", f"/broadcasts/{uuid4()}/cancel", None),
        ("DELETE", "/suppressions?channel=sms&address=%2B2348031231111", None),
        ("POST", "/keys", {"name": "x", "scopes": ["read"], "tenant": "shop"}),
        ("POST", "/keys", {"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}),
        ("DELETE", f"/keys/{of_installation}", None),
        ("DELETE", "/keys/00000000", None),
        ("GET", "/suppressions?channel=sms&address=%2B2348031231111", None),
        ("GET", f"/notifications/{id}/attempts", None),
        ("GET", f"/notifications/{id}/timeline", None),
        ("GET", "/users/empty/contacts", None),
        ("GET", "/users/empty/devices", None),
        ("GET", "/users/nobody/contacts", None),
    ):
        await api.request(method, path, **({"json": body} if body is not None else {}))
    assert await pool.fetchval("SELECT count(*) FROM audit_log") == before


async def test_the_timeline_names_who_acted(api: httpx.AsyncClient, parked: Parked, submit: Submit) -> None:
    retried, discarded, cancelled = await parked(), await parked(), (await submit())["id"]
    await api.post(f"/dead-letters/{retried}/retry")
    await api.post(f"/dead-letters/{discarded}/discard")
    await api.post(f"/notifications/{cancelled}/cancel")
    prefix = api.headers["authorization"].split("_")[2]
    for id, kind in ((retried, "retried"), (discarded, "discarded"), (cancelled, "cancelled_by_client")):
        entries = (await api.get(f"/notifications/{id}/timeline")).json()["entries"]
        assert [e["data"]["by"] for e in entries if e["kind"] == kind] == [f"key:{prefix} (tests)"]


@pytest.mark.parametrize(
    ("name", "shown"), [("ada@example.com", "[private]"), ("till of 0803 123 0077", "till of [private]")]
)
async def test_an_actor_is_not_named_by_an_address(
    url: str, pool: Pool, parked: Parked, name: str, shown: str
) -> None:
    id = await parked()
    key = await api_keys.create(pool, "bank", name)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers=headers, trust_env=False, timeout=20
    ) as client:
        assert (await client.post(f"/dead-letters/{id}/discard")).is_success
        timeline = (await client.get(f"/notifications/{id}/timeline")).json()["entries"]
    prefix = key.split("_")[2]
    assert [e["data"]["by"] for e in timeline if e["kind"] == "discarded"] == [f"key:{prefix} ({shown})"]
    entry = await pool.fetchrow("SELECT actor_name FROM audit_log WHERE subject = $1", id)
    assert entry is not None
    assert entry["actor_name"] == shown
