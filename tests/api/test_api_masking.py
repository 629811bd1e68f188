"""Without the scope `read:pii` no answer contains an address in clear, in any notation."""

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from api_case import loaded, sent

from domain.access import ALL_SCOPES, Scope
from domain.notification import Channel
from domain.status import Status
from domain.transition import Transition
from simulators import webpush
from storage import api_keys
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import DeliveryUpdate

OPEN = ("/healthz", "/readyz", "/v1/callbacks/{provider}", "/v1/unsubscribe/{token}")
PHONE, WHATSAPP, EMAIL = "+2348031704931", "+2348032704931", "canary-mail-zqx@canary-domain.example"
FCM, APNS = "canary-fcm-token-" + "q" * 24, "c0ffee" * 10
WAMID = "wamid." + base64.b64encode(f"\x1d\x14{WHATSAPP[1:]}\x15".encode()).decode()
BROWSER = webpush.subscription("canary-browser")
SPELLINGS = (
    *("031704931", "032704931", "canary-mail-zqx", "canary-fcm-token-q", "c0ffeec0ffee", "canary-browser"),
    *BROWSER["keys"].values(),
)
"""By each of them an address is recognised, though not its mask."""


async def client_of(url: str, pool: Pool, scopes: frozenset[Scope]) -> httpx.AsyncClient:
    key = await api_keys.create(pool, "canaries", "tests", scopes=scopes)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30)


@pytest_asyncio.fixture(scope="module")
async def full(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with await client_of(url, pool, ALL_SCOPES) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def reader(url: str, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with await client_of(url, pool, ALL_SCOPES - {Scope.READ_PII}) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, body: Any, **headers: str) -> dict[str, Any]:
    answer = await client.post(f"/v1{path}", json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()


@pytest_asyncio.fixture(scope="module")
async def ids(full: httpx.AsyncClient, ledger: Ledger) -> dict[str, str]:
    """A user, a notification on every channel, and a broadcast, by the first part of a path."""
    contacts = {"phone": PHONE, "email": EMAIL, "whatsapp": WHATSAPP}
    devices = [
        {"device_id": "phone", "fcm_token": FCM, "apns_token": APNS},
        {"device_id": "browser", "webpush": BROWSER},
    ]
    for part, body in (("contacts", contacts), ("devices", {"devices": devices}), ("preferences", {})):
        assert (await full.put(f"/v1/users/canary/{part}", json=body)).is_success
    for channel, address in (("sms", PHONE), ("email", EMAIL), ("push", FCM), ("whatsapp", WHATSAPP)):
        reason = f"asked by {EMAIL} from {PHONE}"
        await post(full, "/suppressions", {"channel": channel, "address": address, "reason": reason})
    body = {"user_id": "canary", "type": "statement", "content": {"body": "Hello"}}
    channels: dict[str, Any] = {"sms": PHONE, "email": EMAIL, "whatsapp": WHATSAPP, "push": "phone"}
    submitted = {**body, "channels": [*channels], "to": channels}
    id = (await post(full, "/notifications", submitted, **{"Idempotency-Key": "canary"}))["id"]
    await sent(ledger, id, WAMID, Channel.WHATSAPP, "whatsapp_cloud")
    dead = {**body, "channels": ["sms"], "to": {"sms": PHONE}}
    parked = (await post(full, "/notifications", dead, **{"Idempotency-Key": "dead"}))["id"]
    notification = await loaded(ledger, parked)
    (delivery,) = notification.deliveries
    over = Transition(Status.DEAD_LETTERED, notification.expires_at, event="dead_lettered")
    assert await ledger.update(DeliveryUpdate(notification.id, delivery.id, delivery.version, over))
    recipients = [{"user_id": f"user-{n}", "to": {"sms": PHONE, "email": EMAIL}} for n in range(3)]
    broadcast = {
        "type": "marketing",
        "channels": ["sms"],
        "template": {"body": "Hello {{ name }}"},
        "audience": {"kind": "upload"},
    }
    of = (await post(full, "/broadcasts", broadcast, **{"Idempotency-Key": "canary"}))["id"]
    lines = [*map(json.dumps, recipients), json.dumps({"user_id": 1, "to": {"sms": PHONE}})]
    lines += [json.dumps({"user_id": "u", "to": {"sms": f"x{PHONE}"}}), f'{{"user_id": "{EMAIL}'] * 2
    lines += [json.dumps({"user_id": "u", name: 1}) for name in (EMAIL, PHONE)]
    uploaded = await full.put(
        f"/v1/broadcasts/{of}/audience",
        content="\n".join(lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert uploaded.is_success, uploaded.text
    return {"notifications": id, "users": "canary", "broadcasts": of, "parked": parked}


async def answers(client: httpx.AsyncClient, ids: dict[str, str]) -> dict[str, str]:
    """The answer to each GET of the document, with all pages of a list."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    found: dict[str, str] = {}
    for path, methods in paths.items():
        if "get" not in methods or path in OPEN:
            continue
        id = ids.get(path.split("/")[2], "")
        queries = [parameter["name"] for parameter in methods["get"].get("parameters", ())]
        asked: str | None = path.format(id=id, user_id=id) + ("?limit=1" if "limit" in queries else "")
        while asked is not None:
            answer = await client.get(asked)
            assert answer.status_code in (200, 403), answer.text
            found[asked] = answer.text
            cursor = answer.json().get("next_cursor") if answer.is_success else None
            asked = f"{asked.partition('&')[0]}&cursor={cursor}" if cursor else None
    for address in (PHONE, EMAIL):
        channel = "email" if "@" in address else "sms"
        answer = await client.get("/v1/suppressions", params={"channel": channel, "address": address})
        assert len(answer.json()["suppressions"]) == 1
        found[f"suppressions of {channel}"] = answer.text
    return found


def notations(text: str) -> Iterator[str]:
    """The text, and what every word of it is in base64."""
    yield text
    for word in re.findall(r"[A-Za-z0-9+/_=-]{8,}", text):
        for start in range(4):
            padded = word[start:].translate(str.maketrans("-_", "+/")).rstrip("=")
            try:
                decoded = base64.b64decode(padded[: len(padded) // 4 * 4])
            except binascii.Error:
                continue
            yield decoded.decode("latin-1")


def clear_in(found: dict[str, str]) -> set[tuple[str, str]]:
    """Which spelling was found in which answer."""
    return {
        (place, spelling)
        for place, text in found.items()
        for notation in notations(text)
        for spelling in SPELLINGS
        if spelling.lower() in notation.lower()
    }


async def test_a_key_that_only_reads_sees_no_address_in_clear(
    reader: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    found = await answers(reader, ids)
    assert len(found) >= 20
    assert clear_in(found) == set()


async def test_a_key_for_addresses_sees_them_all(full: httpx.AsyncClient, ids: dict[str, str]) -> None:
    seen = clear_in(await answers(full, ids))
    assert {spelling for _, spelling in seen} == set(SPELLINGS), "the canaries were never there"
    assert {place for place, _ in seen} >= {
        "/v1/users/canary/contacts",
        "/v1/users/canary/devices",
        f"/v1/notifications/{ids['notifications']}/attempts",
        f"/v1/notifications/{ids['notifications']}/timeline",
    }


async def test_writes_show_what_the_request_named_and_nothing_more(
    reader: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    written = await reader.put("/v1/users/other/contacts", json={"phone": PHONE})
    assert written.json()["phone"] == PHONE
    devices = {"devices": [{"device_id": "a", "fcm_token": FCM}]}
    registered = await reader.put("/v1/users/other/devices", json=devices)
    assert registered.json()["devices"][0]["fcm_token"] == "cana…"
    suppressed = await reader.post("/v1/suppressions", json={"channel": "sms", "address": PHONE})
    assert suppressed.json()["address"] == PHONE
    assert suppressed.json()["reason"] == "asked by [private] from [private]"


async def test_an_earlier_reason_is_masked_for_every_key_that_suppresses_again(
    full: httpx.AsyncClient, pool: Pool
) -> None:
    """What such a request shows is not recorded as a reading."""
    body = {"channel": "email", "address": "again@example.com"}
    first = await post(full, "/suppressions", {**body, "reason": f"asked from {PHONE}"})
    assert first["reason"] == f"asked from {PHONE}"
    entries = await pool.fetchval("SELECT count(*) FROM audit_log")
    again = await post(full, "/suppressions", {**body, "reason": "asked twice"})
    assert (again["address"], again["reason"]) == ("again@example.com", "asked from [private]")
    assert await pool.fetchval("SELECT count(*) FROM audit_log") == entries


async def test_another_address_for_a_dead_letter_needs_the_scope_for_addresses(
    reader: httpx.AsyncClient, full: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    path, to = f"/v1/dead-letters/{ids['parked']}/retry", {"to": {"sms": "+2348031236789"}}
    refused = await reader.post(path, json=to)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert "read:pii" in refused.json()["detail"]
    assert (await full.get(f"/v1/notifications/{ids['parked']}")).json()["status"] == "dead_lettered"
    assert (await full.post(path, json=to)).status_code == 200


@pytest.mark.parametrize("wrong", ["x", "", "e30=", "WyJzbXMiLCAiKzIzNDgwMzE3MDQ5MzEiXQ==", "ü"])
async def test_a_cursor_that_was_not_given_is_refused(reader: httpx.AsyncClient, wrong: str) -> None:
    answer = await reader.get("/v1/suppressions", params={"cursor": wrong or "-"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "invalid_cursor")
