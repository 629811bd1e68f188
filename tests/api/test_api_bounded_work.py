"""No request makes the others wait: errors, values, parameters and turns are bounded."""

import asyncio
import gc
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_case import PHONE, Parked, body
from broadcast_case import created
from fastapi.routing import APIRoute
from loop_holds import holds
from pydantic import WrapValidator

from api import (
    body_sizes,
    broadcasts,
    dead_letters,
    devices,
    keys,
    notifications,
    problems,
    providers,
    suppressions,
    turns,
    users,
)
from api.batch_submission import LISTED_ERRORS_MAX
from api.fields import METADATA_BYTES_MAX
from api.serve import GARBAGE
from storage.broadcasts import Broadcasts
from storage.postgres import Pool
from storage.queries import VIEWS_AT_ONCE, Queries

HEADS = {"Content-Type": "application/json"}
MANY = {f"u{number}": 1 for number in range(78_000)}


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def broadcast(recipients: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "type": "marketing",
        "channels": ["sms"],
        "template": {"body": "Hello"},
        "audience": {"kind": "list", "recipients": recipients},
        "idempotency_key": str(uuid4()),
        **changes,
    }


HOSTILE: dict[str, tuple[str, str, bytes]] = {
    "unknown fields": ("POST", "/notifications", text(body(**MANY))),
    "unknown fields in an object": ("POST", "/notifications", text(body(to=MANY))),
    "metadata": ("POST", "/notifications", text(body(metadata={"a": [1] * 450_000}))),
    "metadata of empty lists": ("POST", "/notifications", text(body(metadata={"a": [[]] * 320_000}))),
    "channels": ("POST", "/notifications", text(body(channels=["x"] * 240_000))),
    "a long phone number": ("POST", "/notifications", text(body(to={"sms": "+" + "1" * 950_000}))),
    "a long address": ("POST", "/notifications", text(body(to={"email": "a@" + "b." * 450_000}))),
    "a long time": ("POST", "/notifications", text(body(send_at="T" * 950_000))),
    "a long name": ("POST", "/notifications", b'{"' + b"k" * 950_000 + b'":1}'),
    "depth": ("POST", "/notifications", b"[" * 950_000),
    "empty lists": ("POST", "/notifications", b"[" + b"[]," * 310_000 + b"[]]"),
    "long integers": ("POST", "/notifications", b"[" + (b"9" * 4299 + b",") * 220 + b"1]"),
    "a repeated name": ("POST", "/notifications", b"{" + b'"a":1,' * 150_000 + b'"a":1}'),
    "a batch of unknown fields": (
        "POST",
        "/notifications/batch",
        text({"notifications": [{f"u{number}": 1 for number in range(110)}] * 1000}),
    ),
    "a batch of too many items": ("POST", "/notifications/batch", text({"notifications": [{}] * 300_000})),
    "recipients": ("POST", "/broadcasts", text(broadcast([{"user_i": "u", "to": {"sms": "x"}}] * 10_000))),
    "a recipient": ("POST", "/broadcasts", text(broadcast([MANY]))),
    "the kind of an audience": ("POST", "/broadcasts", text(broadcast([], audience={"kind": "x" * 900_000}))),
    "data": ("POST", "/broadcasts", text(broadcast([{"user_id": "u"}], data={"a": [1] * 450_000}))),
    "preferences": (
        "PUT",
        "/users/x/preferences",
        text({"types": {f"t{number}": {"sms": True} for number in range(40_000)}}),
    ),
    "a time zone": ("PUT", "/users/x/preferences", text({"time_zone": "a/" * 450_000})),
    "devices": ("PUT", "/users/x/devices", text({"devices": [{}] * 300_000})),
    "unknown types": ("PUT", "/users/x/preferences", text({"types": {f"k{n}": {} for n in range(9_900)}})),
    "unknown channels": (
        "PUT",
        "/users/x/preferences",
        text({"types": {"*": {f"k{n}": 1 for n in range(9_900)}}}),
    ),
    "unknown fields of a broadcast": ("POST", "/broadcasts", text({**broadcast([]), **MANY})),
    "unknown fields of a template": (
        "POST",
        "/broadcasts",
        text(broadcast([], template={"body": "x", **MANY})),
    ),
    "unknown fields beside a batch": ("POST", "/notifications/batch", text({"notifications": [], **MANY})),
    "contacts": ("PUT", "/users/x/contacts", text(MANY)),
    "a suppression": ("POST", "/suppressions", text({"channel": "email", "address": "a@" + "b." * 2000})),
    "a retry": ("POST", f"/dead-letters/{uuid4()}/retry", text({"to": MANY})),
    "a replay": ("POST", "/dead-letters/replay", text({"filter": MANY})),
    "a form": ("POST", "/callbacks/twilio", b"a=&" * 330_000),
    "a callback": ("POST", "/callbacks/mailgun", b"[" + b"[]," * 310_000 + b"[]]"),
    "unsigned fields": ("POST", "/callbacks/mailgun", text(MANY)),
    "an unsigned form": ("POST", "/callbacks/twilio", b"a=%41&" * 100 + b"b=" + b"%41" * 300_000),
    "parameters": ("GET", "/notifications?" + "a&" * 30_000, b""),
    "a challenge": ("GET", "/callbacks/whatsapp_cloud?" + "a&" * 30_000, b""),
    "parameters with values": ("GET", "/notifications?" + "&".join(f"a{n}=1" for n in range(99)), b""),
    "a cursor": ("GET", "/suppressions?cursor=" + "W1tb" * 15_000, b""),
    "a path": ("GET", "/users/" + "/" * 60_000 + "/contacts", b""),
    "an escaped path": ("GET", "/users/" + "%41" * 20_000 + "/contacts", b""),
    "an id": ("GET", "/notifications/" + "a" * 60_000, b""),
}


@pytest.fixture(scope="module", autouse=True)
def _garbage() -> Iterator[None]:
    """The garbage collector as api.serve sets it."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_refusal_is_short_and_quick(api: httpx.AsyncClient, name: str) -> None:
    method, path, content = HOSTILE[name]
    with holds() as held:
        answer = await api.request(method, path, content=content, headers=HEADS)
    assert answer.status_code in (400, 401, 422), answer.text[:500]
    assert len(answer.content) < 16_000
    listed = answer.json().get("errors", [])
    assert len(listed) <= problems.ERRORS_MAX
    assert all(len(error["pointer"]) <= problems.POINTER_CHARS_MAX for error in listed)
    assert all(len(error["message"]) <= problems.MESSAGE_CHARS_MAX for error in listed)
    # A watchdog, generous because the client's own work is in it: before there were bounds, up to a second.
    assert held.longest_s < 0.25


def test_the_errors_of_every_body_are_bounded() -> None:
    parts = (broadcasts, dead_letters, devices, keys, notifications, providers, suppressions, users)
    routes = [*notifications.direct.routes, *(route for part in parts for route in part.router.routes)]
    bodies = {
        route.path: [type(extra) for extra in field.field_info.metadata]
        for route in routes
        if isinstance(route, APIRoute)
        for field in route.dependant.body_params
    }
    assert len(bodies) >= 10
    assert {path for path, extras in bodies.items() if WrapValidator not in extras} == set()


async def test_errors_beyond_the_first_are_counted(api: httpx.AsyncClient) -> None:
    unknown = {f"field-{number}": 1 for number in range(50)}
    for path, asked in (
        ("/notifications", body(**unknown)),
        ("/broadcasts", broadcast([{"user_id": "u", f"field-{n}": 1} for n in range(50)])),
        ("/dead-letters/replay", {"filter": unknown}),
    ):
        problem = (await api.post(path, json=asked)).json()
        assert len(problem["errors"]) == problems.ERRORS_MAX, path
        assert problem["errors_omitted"] == 50 - problems.ERRORS_MAX, path
    types = {"types": {f"type-{number}": {"sms": True} for number in range(50)}}
    problem = (await api.put("/users/counted/preferences", json=types)).json()
    assert (len(problem["errors"]), problem["errors_omitted"]) == (20, 30)
    item = {"notifications": [MANY]}
    refused = (await api.post("/notifications/batch", json=item)).json()["results"][0]["problem"]
    assert [error["code"] for error in refused["errors"]] == ["too_many_values"]
    few = (await api.post("/notifications", json=body(unknown=1))).json()
    assert len(few["errors"]) == 1
    assert "errors_omitted" not in few


async def test_the_errors_of_a_recipient_name_its_place(api: httpx.AsyncClient) -> None:
    asked = broadcast([{"user_id": "u"}, {"user_id": "u", "to": {"sms": "1"}}])
    problem = (await api.post("/broadcasts", json=asked)).json()
    assert [error["pointer"] for error in problem["errors"]] == ["/audience/recipients/1/to/sms"]


async def test_the_errors_of_a_batch_are_bounded_as_a_whole(api: httpx.AsyncClient) -> None:
    asked = {"notifications": [{f"u{number}": 1 for number in range(30)} for _ in range(1000)]}
    answer = await api.post("/notifications/batch", json=asked)
    results = answer.json()["results"]
    assert (answer.status_code, answer.json()["refused"], len(results)) == (200, 1000, 1000)
    listed = [len(result["problem"]["errors"]) for result in results]
    assert (max(listed), min(listed)) == (problems.ERRORS_MAX, 1)
    assert sum(listed) <= LISTED_ERRORS_MAX + 1000
    # Each item lacks four fields and has thirty unknown ones.
    assert {len(r["problem"]["errors"]) + r["problem"]["errors_omitted"] for r in results} == {34}
    assert len(answer.content) < 2_000_000


async def test_the_metadata_that_fits_is_accepted(api: httpx.AsyncClient) -> None:
    fits = {"a": [1] * 8_180}
    answer = await api.post("/notifications", json=body(metadata=fits, idempotency_key="fits"))
    assert answer.status_code == 202, answer.text
    commas = body(content={"body": "," * 90_000}, idempotency_key="commas")
    assert (await api.post("/notifications", json=commas)).status_code == 202
    above = text(body(metadata={"a": [1] * (body_sizes.VALUES_MAX + 1)}, idempotency_key="above"))
    problem = await api.post("/notifications", content=above, headers=HEADS)
    assert (problem.status_code, problem.json()["code"]) == (400, "too_many_values")


@pytest.mark.parametrize("number", [1e308, -1e300, 5e-324])
async def test_a_number_counts_with_all_its_zeros(api: httpx.AsyncClient, number: float) -> None:
    above = await api.post("/notifications", json=body(metadata={"a": [number] * 60}, idempotency_key="a"))
    assert (above.status_code, above.json()["errors"][0]["code"]) == (422, "too_long")
    fits = body(metadata={"a": [number] * 48}, idempotency_key=f"zeros of {number}")
    answer = await api.post("/notifications", json=fits)
    assert answer.status_code == 202, answer.text
    shown = await api.get(f"/notifications/{answer.json()['id']}")
    assert list(map(float, shown.json()["metadata"]["a"])) == [number] * 48
    assert len(shown.content) < METADATA_BYTES_MAX + 2_000


def gives(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is slept from now on, while a turn takes no time: every part of the work then lets others run."""
    given: list[float] = []
    slept = asyncio.sleep

    async def counted(delay: float) -> None:
        given.append(delay)
        await slept(delay)

    monkeypatch.setattr(turns, "TURN_S", 0.0)
    monkeypatch.setattr(turns.asyncio, "sleep", counted)
    return given


@pytest.mark.parametrize("path", ["/notifications/batch", "/broadcasts"])
async def test_a_long_request_lets_others_run(
    api: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = gives(monkeypatch)
    asked = {
        "/notifications/batch": {
            "notifications": [body(idempotency_key=f"{path}-{number}") for number in range(200)]
        },
        "/broadcasts": broadcast([{"user_id": f"u{n}", "to": {"sms": PHONE}} for n in range(200)]),
    }[path]
    answer = await api.post(path, json=asked)
    assert answer.status_code in (200, 202), answer.text
    assert given.count(0) >= 200


@pytest.mark.parametrize(
    ("path", "name"),
    [("/notifications", "notifications"), ("/dead-letters", "notifications"), ("/broadcasts", "broadcasts")],
)
async def test_a_page_lets_others_run(
    api: httpx.AsyncClient, parked: Parked, path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(30):
        await (created(api) if name == "broadcasts" else parked())
    views: list[int] = []
    fetched = Pool.fetch

    async def counted(self: Pool, query: str, *args: Any, **options: Any) -> Any:
        rows = await fetched(self, query, *args, **options)
        views.append(len(rows))
        return rows

    given = gives(monkeypatch)
    monkeypatch.setattr(Pool, "fetch", counted)
    answer = await api.get(path, params={"limit": 30})
    assert len(answer.json()[name]) == 30
    assert given.count(0) >= 30
    # The page's positions, or ids, in one; then the views.
    assert max(views[1:]) <= VIEWS_AT_ONCE


async def test_a_replayed_batch_reads_only_what_it_answers(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [body(idempotency_key=f"replayed-{number}") for number in range(4)]
    assert (await api.post("/notifications/batch", json={"notifications": items})).json()["accepted"] == 4
    read: list[Any] = []
    views = Queries.notifications

    async def counted(self: Queries, tenant: str, ids: Any) -> Any:
        read.extend(ids)
        return await views(self, tenant, ids)

    monkeypatch.setattr(Queries, "notifications", counted)
    changed = [{**item, "metadata": {"other": True}} for item in items[1:]]
    answer = (await api.post("/notifications/batch", json={"notifications": [items[0], *changed]})).json()
    assert [result["status"] for result in answer["results"]] == [200, 422, 422, 422]
    assert len(read) == 1


async def test_long_lines_are_stored_in_small_portions(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions: list[int] = []
    stored = Broadcasts.put

    async def counted(self: Broadcasts, id: Any, upload: int, recipients: Any, refusals: Any) -> None:
        portions.append(len(recipients))
        await stored(self, id, upload, recipients, refusals)

    monkeypatch.setattr(Broadcasts, "put", counted)
    id = (await created(api, audience={"kind": "upload"}))["id"]
    lines = b"".join(text({"user_id": f"u{n}", "data": {"l": [0] * 8_000}}) + b"\n" for n in range(60))
    heads = {"Content-Type": "application/x-ndjson"}
    answer = await api.put(f"/broadcasts/{id}/audience", content=lines, headers=heads)
    assert (answer.status_code, sum(portions)) == (200, 60)
    assert max(portions) <= 20


async def test_a_large_callback_is_parsed_beside_the_loop(api: httpx.AsyncClient) -> None:
    statuses = [{"id": f"wamid.{number}", "status": "delivered", "timestamp": "1"} for number in range(3000)]
    content = text(
        {"entry": [{"changes": [{"field": "messages", "value": {"statuses": [s]}}]} for s in statuses]}
    )
    signature = hmac.new(b"secret", content, hashlib.sha256).hexdigest()
    with holds() as held:
        answer = await api.post(
            "/callbacks/whatsapp_cloud",
            content=content,
            headers={**HEADS, "X-Hub-Signature-256": f"sha256={signature}"},
        )
    assert answer.status_code == 200, answer.text
    assert held.longest_s < 0.25
