"""Every act of an operator and every reading in clear leaves one audit entry; no route is forgotten."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_case import Parked, Submit
from broadcast_case import UPLOAD, created
from broadcast_case import broadcast as broadcast_body

from domain.audit import Action
from domain.status import Status
from storage.postgres import Pool

PHONE, OTHER = "+2348031236789", "+2348031230001"
MASKED, OTHER_MASKED = "+234•••••6789", "+234•••••0001"
WHY = {"Herald-Reason": "ticket 4711"}


@dataclass(frozen=True)
class Stage:
    """What acts need: `api` has a key of the tenant `bank`, `operator` one of the installation."""

    api: httpx.AsyncClient
    operator: httpx.AsyncClient
    parked: Parked
    submit: Submit

    async def user(self) -> str:
        user = f"user-{uuid4()}"
        contacts = {"phone": PHONE, "email": "ada@example.com"}
        devices = [{"device_id": "one", "fcm_token": f"token-{user}"}]
        assert (await self.api.put(f"/users/{user}/contacts", json=contacts)).is_success
        assert (await self.api.put(f"/users/{user}/devices", json={"devices": devices})).is_success
        return user


@dataclass(frozen=True)
class Asked:
    """A request, and the entry that it leaves. `installation`: its key is the installation's."""

    path: str
    subject: str
    before: Any = None
    after: Any = None
    body: Any = None
    content: bytes | None = None
    query: Any = None
    installation: bool = False


Prepare = Callable[[Stage], Awaitable[Asked]]


async def drain(stage: Stage) -> Asked:
    await stage.operator.patch("/providers/twilio", json={"status": "active"})
    after = {"status": "drained"}
    return Asked("/providers/twilio", "twilio", {"status": "active"}, after, after, installation=True)


async def activate(stage: Stage) -> Asked:
    await stage.operator.patch("/providers/twilio", json={"status": "drained"})
    after = {"status": "active"}
    return Asked("/providers/twilio", "twilio", {"status": "drained"}, after, after, installation=True)


async def retry(stage: Stage) -> Asked:
    id = await stage.parked(to={"sms": PHONE})
    before = {"deliveries": {"sms": "dead_lettered"}, "to": {"sms": MASKED}}
    after = {"deliveries": {"sms": "accepted"}, "to": {"sms": OTHER_MASKED}}
    return Asked(f"/dead-letters/{id}/retry", id, before, after, {"to": {"sms": OTHER}})


async def assume_sent(stage: Stage) -> Asked:
    id = await stage.parked(Status.OUTCOME_UNKNOWN)
    before = {"deliveries": {"sms": "outcome_unknown"}}
    after = {"deliveries": {"sms": "sent"}, "assume": "sent"}
    return Asked(f"/dead-letters/{id}/retry", id, before, after, {"assume": "sent"})


async def discard(stage: Stage) -> Asked:
    id = await stage.parked(channels=["sms", "email"], strategy="first")
    before = {"deliveries": {"sms": "dead_lettered", "email": "waiting"}}
    after = {"deliveries": {"sms": "failed", "email": "cancelled"}}
    return Asked(f"/dead-letters/{id}/discard", id, before, after)


async def replay(stage: Stage) -> Asked:
    type = "statement"
    id = await stage.parked(type=type)
    before, after = {"deliveries": {"sms": "dead_lettered"}}, {"deliveries": {"sms": "accepted"}, "at": ...}
    return Asked("/dead-letters/replay", id, before, after, {"filter": {"type": type}, "dry_run": False})


async def cancel(stage: Stage) -> Asked:
    id = (await stage.submit())["id"]
    before = {"deliveries": {"sms": "accepted"}}
    return Asked(f"/notifications/{id}/cancel", id, before, {"deliveries": {"sms": "cancelled"}})


async def suppress(stage: Stage) -> Asked:
    await stage.api.delete("/suppressions", params={"channel": "sms", "address": PHONE})
    body = {"channel": "sms", "address": PHONE, "reason": f"asked from {OTHER}"}
    return Asked(
        "/suppressions", f"sms {MASKED}", None, {"reason": "asked from [private]", "source": "api"}, body
    )


async def lift(stage: Stage) -> Asked:
    query = {"channel": "email", "address": f"x{uuid4()}@example.com"}
    assert (await stage.api.post("/suppressions", json=query)).status_code == 201
    before = {"reason": "requested", "source": "api"}
    return Asked("/suppressions", "email x•••@example.com", before, None, query=query)


async def create_broadcast(stage: Stage) -> Asked:
    after = {
        "status": "running",
        "type": "marketing",
        "channels": ["sms"],
        "audience": "list",
        "recipients": 1,
    }
    recipients = [{"user_id": "ada", "to": {"sms": PHONE}, "data": {"name": "Ada"}}]
    body = broadcast_body(audience={"kind": "list", "recipients": recipients})
    return Asked("/broadcasts", "", None, after, body | {"idempotency_key": str(uuid4())})


async def start(stage: Stage) -> Asked:
    id = (await created(stage.api, audience=UPLOAD))["id"]
    after = {"status": "running", "recipients": 1}
    csv = f"user_id,to_sms,name\nada,{PHONE},Ada\n".encode()
    return Asked(f"/broadcasts/{id}/audience", id, {"status": "draft"}, after, content=csv)


async def _commanded(stage: Stage, command: str, before: str, after: str) -> Asked:
    id = (await created(stage.api))["id"]
    if before == "paused":
        assert (await stage.api.post(f"/broadcasts/{id}/pause")).is_success
    return Asked(f"/broadcasts/{id}/{command}", id, {"status": before}, {"status": after})


async def pause(stage: Stage) -> Asked:
    return await _commanded(stage, "pause", "running", "paused")


async def resume(stage: Stage) -> Asked:
    return await _commanded(stage, "resume", "paused", "running")


async def cancel_broadcast(stage: Stage) -> Asked:
    return await _commanded(stage, "cancel", "running", "cancelled")


async def create_key(stage: Stage) -> Asked:
    after = {"name": "till", "scopes": ["read", "send"], "test": True}
    return Asked("/keys", "", None, after, {"name": "till", "scopes": ["send", "read"], "test": True})


async def revoke_key(stage: Stage) -> Asked:
    made = await stage.api.post("/keys", json={"name": "lost", "scopes": ["send"]})
    prefix = made.json()["prefix"]
    return Asked(f"/keys/{prefix}", prefix, {"name": "lost"})


async def contacts(stage: Stage) -> Asked:
    user = await stage.user()
    return Asked(f"/users/{user}/contacts", user, None, {"addresses": ["phone", "email"]})


async def devices(stage: Stage) -> Asked:
    user = await stage.user()
    return Asked(f"/users/{user}/devices", user, None, {"count": 1})


async def suppressions(stage: Stage) -> Asked:
    address = f"s{uuid4()}@example.com"
    await stage.api.post("/suppressions", json={"channel": "email", "address": address})
    query = {"channel": "email", "address": address}
    return Asked("/suppressions", "email s•••@example.com", None, {"count": 1}, query=query)


AUDITED: list[tuple[Action, str, Prepare]] = [
    (Action.PROVIDER_DRAIN, "patch /providers/{name}", drain),
    (Action.PROVIDER_ACTIVATE, "patch /providers/{name}", activate),
    (Action.DEAD_LETTER_RETRY, "post /dead-letters/{id}/retry", retry),
    (Action.DEAD_LETTER_RETRY, "post /dead-letters/{id}/retry", assume_sent),
    (Action.DEAD_LETTER_DISCARD, "post /dead-letters/{id}/discard", discard),
    (Action.DEAD_LETTER_REPLAY, "post /dead-letters/replay", replay),
    (Action.NOTIFICATION_CANCEL, "post /notifications/{id}/cancel", cancel),
    (Action.SUPPRESSION_ADD, "post /suppressions", suppress),
    (Action.SUPPRESSION_REMOVE, "delete /suppressions", lift),
    (Action.BROADCAST_CREATE, "post /broadcasts", create_broadcast),
    (Action.BROADCAST_START, "put /broadcasts/{id}/audience", start),
    (Action.BROADCAST_PAUSE, "post /broadcasts/{id}/pause", pause),
    (Action.BROADCAST_RESUME, "post /broadcasts/{id}/resume", resume),
    (Action.BROADCAST_CANCEL, "post /broadcasts/{id}/cancel", cancel_broadcast),
    (Action.KEY_CREATE, "post /keys", create_key),
    (Action.KEY_REVOKE, "delete /keys/{prefix}", revoke_key),
    (Action.CONTACTS_READ, "get /users/{user_id}/contacts", contacts),
    (Action.DEVICES_READ, "get /users/{user_id}/devices", devices),
    (Action.SUPPRESSIONS_READ, "get /suppressions", suppressions),
]
"""Every way to act or to read in clear over REST."""

_SENDING = "a client's ordinary work; the notification keeps who sent it"
_USERS = "a client's ordinary work, at the rate at which its users change"
_NO_ADDRESS = "it shows no address, or a masked one"
_MESSAGE_IDS = "it shows no address except the number within a message id of WhatsApp"
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
    "get /notifications/{id}/attempts": _MESSAGE_IDS,
    "get /notifications/{id}/timeline": _MESSAGE_IDS,
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


async def call(api: httpx.AsyncClient, operation: str, asked: Asked) -> httpx.Response:
    method, _, template = operation.partition(" ")
    assert re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), asked.path)
    headers = WHY | ({"Content-Type": "text/csv"} if asked.content else {})
    body = {"json": asked.body} if asked.body is not None else {}
    return await api.request(
        method, asked.path, params=asked.query, content=asked.content, headers=headers, **body
    )


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
