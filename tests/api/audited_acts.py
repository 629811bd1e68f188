"""Every way to act or to read in clear over REST, with what it needs and the entry that it leaves."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from api_case import Parked, Submit, sent
from broadcast_case import UPLOAD, created
from broadcast_case import broadcast as broadcast_body

from domain.audit import Action
from domain.notification import Channel
from domain.status import Status

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

    async def accepted(self, id: str) -> None:
        """Record that WhatsApp accepted the notification."""
        await sent(self.parked.ledger, id, f"wamid.{id}", Channel.WHATSAPP, "whatsapp_cloud")

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
    after = {"name": "till", "scopes": ["read", "send"], "test": True, "expires_at": None}
    return Asked("/keys", "", None, after, {"name": "till", "scopes": ["send", "read"], "test": True})


async def create_key_that_expires(stage: Stage) -> Asked:
    expires_at = "2999-11-30T06:48:43.250000+00:00"
    after = {"name": "till of [private]", "scopes": ["send"], "test": False, "expires_at": expires_at}
    body = {"name": f"till of {PHONE}", "scopes": ["send"], "expires_at": "2999-11-30T07:48:43.25+01:00"}
    return Asked("/keys", "", None, after, body)


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


async def _over_whatsapp(stage: Stage, path: str) -> Asked:
    id = (await stage.submit(channels=["whatsapp"], to={"whatsapp": PHONE}))["id"]
    await stage.accepted(id)
    return Asked(f"/notifications/{id}/{path}", id, None, {"count": 1})


async def attempts(stage: Stage) -> Asked:
    return await _over_whatsapp(stage, "attempts")


async def timeline(stage: Stage) -> Asked:
    return await _over_whatsapp(stage, "timeline")


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
    (Action.KEY_CREATE, "post /keys", create_key_that_expires),
    (Action.KEY_REVOKE, "delete /keys/{prefix}", revoke_key),
    (Action.CONTACTS_READ, "get /users/{user_id}/contacts", contacts),
    (Action.DEVICES_READ, "get /users/{user_id}/devices", devices),
    (Action.SUPPRESSIONS_READ, "get /suppressions", suppressions),
    (Action.MESSAGE_IDS_READ, "get /notifications/{id}/attempts", attempts),
    (Action.MESSAGE_IDS_READ, "get /notifications/{id}/timeline", timeline),
]
"""Every way to act or to read in clear over REST."""


async def call(
    api: httpx.AsyncClient, operation: str, asked: Asked, why: Mapping[str, str] = WHY
) -> httpx.Response:
    """Send the request."""
    method, _, template = operation.partition(" ")
    assert re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), asked.path)
    headers = dict(why) | ({"Content-Type": "text/csv"} if asked.content else {})
    body = {"json": asked.body} if asked.body is not None else {}
    return await api.request(
        method, asked.path, params=asked.query, content=asked.content, headers=headers, **body
    )
