"""Authentication, isolation between tenants, unknown objects, and limits on requests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from api_case import PHONE, Parked, Submit, body
from api_server import served, settings_for

from api import body_limit
from devstack.ports import free_port
from domain.key_format import SECRET_CHARS, key_of
from storage import api_keys
from storage.postgres import Pool

OPEN = {"/healthz", "/readyz", "/v1/callbacks/{provider}", "/v1/unsubscribe/{token}"}
"""Routes without an API key: they check a signature or a signed token, or show nothing private."""


async def routes(url: str) -> list[tuple[str, str]]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


async def test_every_route_that_is_not_open_needs_a_key(url: str) -> None:
    asked = await routes(url)
    assert len(asked) >= 22
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for method, path in asked:
            if path in OPEN:
                continue
            answer = await client.request(method, path.replace("{", "").replace("}", ""))
            assert (answer.status_code, answer.json()["code"]) == (401, "api_key_missing"), (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_open_routes_answer_and_show_nothing_of_a_tenant(url: str, submit: Submit) -> None:
    shown = await submit(user_id="a-private-user")
    private = (shown["id"], "a-private", PHONE, "bank")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            answer = await client.get(path)
            assert answer.status_code == 200, path
            examples = (PHONE,) if path == "/openapi.json" else ()
            assert [text for text in private if text in answer.text and text not in examples] == [], path


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer x",
        "Basic hk_00000000_x",
        "Bearer hk_00000000_unknown",
        "hk_00000000_x",
        "Bearer hk__",
    ],
)
async def test_a_wrong_key_is_refused(url: str, header: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/v1/notifications", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_invalid")


async def test_several_keys_or_tenants_are_refused(
    api: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    for client, header, values, code in (
        (api, "Authorization", (api.headers["Authorization"], operator.headers["Authorization"]), 401),
        (api, "Authorization", (api.headers["Authorization"],) * 2, 401),
        (api, "Authorization", (f"{api.headers['Authorization']}\xa0",), 401),
        (operator, "Herald-Tenant", ("bank", "shop"), 400),
        (operator, "Herald-Tenant", ("bank", "bank"), 400),
    ):
        raw = [(name, value) for name, value in client.headers.raw if name.lower() != header.lower().encode()]
        raw += [(header.encode(), value.encode("latin-1")) for value in values]
        async with httpx.AsyncClient(base_url=client.base_url, headers=raw, trust_env=False) as twice:
            answer = await twice.get("/notifications")
        assert answer.status_code == code, answer.text


async def test_a_key_with_the_right_prefix_only_is_refused(url: str, pool: Pool) -> None:
    key = await api_keys.create(pool, "bank", "tests")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        good = await client.get("/v1/notifications", headers={"Authorization": f"Bearer {key}"})
        assert good.status_code == 200
        guessed = key_of(key.split("_")[2], "0" * SECRET_CHARS, test=False)
        bad = await client.get("/v1/notifications", headers={"Authorization": f"Bearer {guessed}"})
    assert (bad.status_code, bad.json()["code"]) == (401, "api_key_invalid")


async def test_a_revoked_key_stops_within_seconds(url: str, pool: Pool) -> None:
    key = await api_keys.create(pool, "bank", "tests")
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as client:
        assert (await client.get("/v1/notifications")).status_code == 200
        assert await api_keys.revoke(pool, key.split("_")[2])
        async with asyncio.timeout(60):
            while (await client.get("/v1/notifications")).status_code != 401:
                pass


async def test_the_key_is_checked_before_the_body_is_read(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.post("/v1/notifications", content=b"{")
    assert answer.status_code == 401


async def test_a_stalled_body_times_out(
    url: str, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "BODY_WITHIN_S", 0.05)
    to = httpx.URL(url)
    head = f"POST /v1/notifications HTTP/1.1\r\nAuthorization: {api.headers['Authorization']}\r\n"
    for part in (b"", b'{"user_id": '):
        reader, writer = await asyncio.open_connection(to.host, to.port)
        try:
            writer.write(f"{head}Host: herald\r\nContent-Length: 100\r\n\r\n".encode() + part)
            async with asyncio.timeout(60):
                answer = await reader.read()
        finally:
            writer.close()
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("upload", [False, True])
async def test_a_body_that_drips_times_out(
    url: str, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, upload: bool
) -> None:
    # Each pause is shorter than the deadline. An upload must keep to its pace, but only while Herald waits.
    monkeypatch.setattr(body_limit, "BODY_WITHIN_S", 0.4)
    path = "/v1/notifications"
    if upload:
        draft = {
            "type": "marketing",
            "channels": ["sms"],
            "template": {"body": "Hello"},
            "audience": {"kind": "upload"},
            "idempotency_key": str(uuid4()),
        }
        path = f"/v1/broadcasts/{(await api.post('/broadcasts', json=draft)).json()['id']}/audience"
    to = httpx.URL(url)
    reader, writer = await asyncio.open_connection(to.host, to.port)
    method, kind = ("PUT", "text/csv") if upload else ("POST", "application/json")
    head = f"{method} {path} HTTP/1.1\r\nHost: herald\r\nAuthorization: {api.headers['Authorization']}\r\n"
    writer.write(f"{head}Content-Type: {kind}\r\nContent-Length: 100000\r\n\r\n".encode())

    async def drip() -> None:
        for _ in range(10_000):
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(60):
        answer = await reader.readuntil(b"\r\n\r\n")
    dripping.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 "), answer


async def test_another_tenants_objects_are_not_found(
    api: httpx.AsyncClient, other: httpx.AsyncClient, submit: Submit, parked: Parked
) -> None:
    id, dead = (await submit())["id"], await parked()
    for method, path in (
        ("GET", f"/notifications/{id}"),
        ("GET", f"/notifications/{id}/attempts"),
        ("GET", f"/notifications/{id}/timeline"),
        ("POST", f"/notifications/{id}/cancel"),
        ("POST", f"/dead-letters/{dead}/retry"),
        ("POST", f"/dead-letters/{dead}/discard"),
        ("GET", f"/notifications/{uuid4()}"),
    ):
        answer = await other.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "notification_not_found"), path
    assert (await other.get("/notifications")).json()["notifications"] == []
    assert (await other.get("/dead-letters")).json()["notifications"] == []
    replayed = await other.post("/dead-letters/replay", json={"filter": {}, "dry_run": False})
    assert replayed.json()["matched"] == 0
    assert (await api.get(f"/notifications/{dead}")).json()["status"] == "dead_lettered"

    address = {"channel": "email", "address": "x@example.com"}
    await api.post("/suppressions", json=address)
    await api.put("/users/mine/contacts", json={"email": "x@example.com"})
    assert (await other.get("/suppressions")).json()["suppressions"] == []
    assert (await other.delete("/suppressions", params=address)).status_code == 404
    for part in ("contacts", "devices", "preferences"):
        assert (await other.get(f"/users/mine/{part}")).status_code == 404


async def test_the_same_key_in_two_tenants_is_two_notifications(
    api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    asked = body(idempotency_key="shared")
    answers = [await client.post("/notifications", json=asked) for client in (api, other)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] != answers[1].json()["id"]


async def test_an_unknown_route_answers_with_a_problem(api: httpx.AsyncClient) -> None:
    for method, path, status, code in (
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/notifications", 405, "method_not_allowed"),
        ("GET", "/notifications/not-an-id", 422, "validation_failed"),
        ("GET", "/notifications/batch", 405, "method_not_allowed"),
        ("GET", "/dead-letters/replay", 405, "method_not_allowed"),
        ("PUT", "/notifications/batch", 405, "method_not_allowed"),
        ("GET", "/notifications/", 404, "not_found"),
        ("GET", "/notifications/batch/", 404, "not_found"),
    ):
        answer = await api.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.delete("/notifications")).headers["allow"] == "GET, HEAD, POST"
    assert (await api.get("/notifications/batch")).headers["allow"] == "POST"
    for path in ("/dead-letters/replay", "/notifications/batch"):
        assert (await api.head(path)).status_code == 405


async def test_head_is_answered_as_get_without_the_body(
    url: str, api: httpx.AsyncClient, operator: httpx.AsyncClient, submit: Submit
) -> None:
    shown = await submit()
    broadcast = await api.post(
        "/broadcasts",
        headers={"Idempotency-Key": "head"},
        json={
            "type": "marketing",
            "channels": ["sms"],
            "template": {"body": "Hello"},
            "audience": {"kind": "list", "recipients": [{"user_id": shown["user_id"]}]},
        },
    )
    assert broadcast.status_code == 202, broadcast.text
    for part in ("contacts", "devices", "preferences"):
        empty = {"devices": []} if part == "devices" else {}
        assert (await api.put(f"/users/{shown['user_id']}/{part}", json=empty)).status_code == 200
    gets = [path for method, path in await routes(url) if method == "GET"] + ["/metrics", "/openapi.json"]
    # These need a token.
    gets = [path for path in gets if path not in {"/v1/callbacks/{provider}", "/v1/unsubscribe/{token}"}]
    assert len(gets) >= 13
    for path in gets:
        id = broadcast.json()["id"] if path.startswith("/v1/broadcasts/") else shown["id"]
        asked = url + path.format(id=id, user_id=shown["user_id"])
        got, head = [
            await operator.request(method, asked, headers={"Herald-Tenant": "bank"})
            for method in ("GET", "HEAD")
        ]
        assert (got.status_code, head.status_code) == (200, 200), path
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":
            assert head.headers["content-length"] == got.headers["content-length"], path
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.head("/v1/notifications")).status_code == 401


async def test_an_unknown_query_parameter_is_named(
    url: str, api: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    id = str(uuid4())
    keyed = [(method, path) for method, path in await routes(url) if path not in OPEN]
    for method, path in keyed:
        query = {"limt": "1", "a/b~c": "é", "body": "x"}
        asked = url + path.format(id=id, user_id="u", name="twilio", prefix="00000000")
        answer = await operator.request(method, asked, params=query, headers={"Herald-Tenant": "bank"})
        assert answer.status_code == 422, (method, path)
        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
            ("/query/limt", "unknown_field"),
            ("/query/a~1b~0c", "unknown_field"),
            ("/query/body", "unknown_field"),
        ]
    misspelt = (await api.get("/suppressions?statsu=failed")).json()
    assert "expected one of channel, address, cursor, limit" in misspelt["detail"]
    assert (await operator.get("/providers?cursor=x")).json()[
        "detail"
    ] == "/query/cursor: no parameters are allowed"


async def test_a_body_above_a_megabyte_is_refused(api: httpx.AsyncClient) -> None:
    heads = {"Idempotency-Key": "large", "Content-Type": "application/json"}
    large = json.dumps(body(content={"body": "x" * 1_000_000})).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    for content in (large, chunks()):
        answer = await api.post("/notifications", content=content, headers=heads)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert answer.headers["content-type"] == "application/problem+json"
    just = {
        "notifications": [body(content={"body": "x" * 90_000}, idempotency_key=f"{n}") for n in range(11)]
    }
    assert len(json.dumps(just)) > 990_000
    assert (await api.post("/notifications/batch", json=just)).status_code == 200
    assert (await api.post("/callbacks/mailgun", content=large)).status_code == 413


async def test_without_postgres_the_client_may_retry_later() -> None:
    unreachable = f"postgresql://herald@127.0.0.1:{free_port()}/herald"
    async with (
        served(settings_for(unreachable)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        key = {"Authorization": f"Bearer {api_keys.generate()}", "Idempotency-Key": "k"}
        answer = await client.post("/v1/notifications", json=body(), headers=key)
        assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")


async def test_a_full_queue_and_a_lost_commit_have_different_codes(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.group import CommitUnknown, QueueFull
    from storage.ledger import Ledger

    for error, code in ((QueueFull("full"), "overloaded"), (CommitUnknown("lost"), "commit_unknown")):

        async def accept(_: Ledger, __: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Ledger, "accept", accept)
        answer = await api.post("/notifications", json=body(idempotency_key="k"))
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) > 0


async def test_an_unexpected_error_is_a_problem_without_its_text(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from storage.ledger import Ledger

    async def accept(_: Ledger, __: object) -> None:
        raise RuntimeError("with a private text")

    monkeypatch.setattr(Ledger, "accept", accept)
    answer = await api.post("/notifications", json=body(idempotency_key="k"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    captured = capsys.readouterr()
    logged = captured.out + captured.err
    assert "request_failed" in logged
    assert "private text" not in answer.text + logged


async def test_endless_headers_are_refused(url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /v1/notifications HTTP/1.1\r\nHost: herald\r\nX-Endless: ")
    for _ in range(64):
        writer.write(b"x" * 2048)
    async with asyncio.timeout(60):
        assert b" 431 " in await reader.readline()
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
    writer.close()


async def test_long_but_finite_headers_and_bodies_are_read(url: str, api: httpx.AsyncClient) -> None:
    long = {"X-Long": "x" * 40_000, "Idempotency-Key": "long heads"}
    for size in (10, 90_000):
        answer = await api.post("/notifications", json=body(content={"body": "x" * size}), headers=long)
        assert answer.status_code in (202, 422), answer.text
