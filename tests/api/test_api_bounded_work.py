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
from api_case import PHONE, body
from loop_holds import holds

from api import body_sizes, problems, turns
from api.notifications import BATCH_ERRORS_MAX
from api.serve import GARBAGE

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
    "contacts": ("PUT", "/users/x/contacts", text(MANY)),
    "a suppression": ("POST", "/suppressions", text({"channel": "email", "address": "a@" + "b." * 2000})),
    "a retry": ("POST", f"/dead-letters/{uuid4()}/retry", text({"to": MANY})),
    "a replay": ("POST", "/dead-letters/replay", text({"filter": MANY})),
    "a form": ("POST", "/callbacks/twilio", b"a=&" * 330_000),
    "a callback": ("POST", "/callbacks/mailgun", b"[" + b"[]," * 310_000 + b"[]]"),
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
    assert sum(listed) <= BATCH_ERRORS_MAX + 1000
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


@pytest.mark.parametrize("path", ["/notifications/batch", "/broadcasts"])
async def test_a_long_request_lets_others_run(
    api: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    slept = asyncio.sleep

    async def counted(delay: float) -> None:
        given.append(delay)
        await slept(delay)

    # A turn of no time: every part of the work then lets others run.
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    monkeypatch.setattr(turns.asyncio, "sleep", counted)
    asked = {
        "/notifications/batch": {
            "notifications": [body(idempotency_key=f"{path}-{number}") for number in range(200)]
        },
        "/broadcasts": broadcast([{"user_id": f"u{n}", "to": {"sms": PHONE}} for n in range(200)]),
    }[path]
    answer = await api.post(path, json=asked)
    assert answer.status_code in (200, 202), answer.text
    assert given.count(0) >= 200


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
