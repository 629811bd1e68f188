"""Broadcasts over REST: one per key, their audience, pause and cancel, and isolation between tenants."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from broadcast_case import NDJSON, UPLOAD, create, created, refused, upload
from waiting import until

from api import body_limit
from domain.broadcasts import LINE_BYTES_MAX
from storage.postgres import Pool

SECRET = "a word that must not be shown"
DAY = {"start": "09:00", "end": "10:00", "time_zone": "UTC"}
STORED = "SELECT count(*) FROM broadcast_recipients WHERE broadcast_id = $1"


async def test_a_broadcast_is_created_once_for_its_key(api: httpx.AsyncClient) -> None:
    key = str(uuid4())
    answers = await asyncio.gather(*(create(api, key) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    replayed = await create(api, key)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert replayed.headers["Location"] == f"/v1/broadcasts/{replayed.json()['id']}"
    other = await create(api, key, rate_per_s=5)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_new_broadcast_shows_its_status(api: httpx.AsyncClient) -> None:
    shown = await created(api, metadata={"campaign": "spring"}, rate_per_s=50)
    assert shown["status"] == "running"
    assert shown["workflow_id"] == f"brd-{shown['id']}"
    assert shown["metadata"] == {"campaign": "spring"}
    assert shown["progress"]["total"] == 1
    assert shown["progress"]["accepted"] == 0
    draft = await created(api, audience=UPLOAD)
    assert (draft["status"], draft["started_at"]) == ("draft", None)
    again = await api.get(f"/broadcasts/{shown['id']}")
    assert again.json() == shown


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"template": {"body": "Hello {{ name"}}, "/template/body", "template_invalid"),
        ({"template": {"body": "{{ f() }}"}}, "/template/body", "template_invalid"),
        ({"template": {"body": "x", "title": "{% if %}"}}, "/template/title", "template_invalid"),
        ({"type": "nonsense"}, "/type", "unknown_type"),
        ({"channels": ["pigeon"]}, "/channels/0", "unknown_channel"),
        ({"channels": ["sms", "sms"]}, "/channels", "not_unique"),
        ({"rate_per_s": 0}, "/rate_per_s", "out_of_range"),
        ({"audience": {"kind": "list", "recipients": []}}, "/audience/list/recipients", "too_short"),
        ({"window": DAY | {"start": "9"}}, "/window/start", "invalid_preference"),
        ({"window": DAY | {"end": "09:00"}}, "/window", "window_empty"),
        ({"window": DAY | {"time_zone": "Moon"}}, "/window/time_zone", "invalid_preference"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "in_the_past"),
        ({"start_at": "2999-01-01T00:00:00Z"}, "/start_at", "out_of_range"),
        ({"lane": "critical"}, "/lane", "unknown_field"),
        ({"rate_per_s": 1e-300}, "/rate_per_s", "out_of_range"),
        ({"rate_per_s": 5e-324}, "/rate_per_s", "out_of_range"),
        ({"type": "otp"}, "/type", "not_for_broadcasts"),
        ({"type": "otp", "audience": UPLOAD, "data": {"name": "x"}}, "/type", "not_for_broadcasts"),
    ],
)
async def test_an_invalid_field_is_named(
    api: httpx.AsyncClient, changes: dict[str, Any], pointer: str, code: str
) -> None:
    answer = await create(api, **changes)
    assert answer.status_code == 422, answer.text
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]


QUERY = {"kind": "query", "has_contact": "sms"}
BOTH = [{"user_id": "ada", "data": {"city": "Lagos"}}, {"user_id": "bola", "data": {"city": "Abuja"}}]
EVE = {"user_id": "eve"}


@pytest.mark.parametrize(
    ("body", "data", "audience", "pointers"),
    [
        ("{{ city }} {{ name }}", {"city": " ", "name": "Ada"}, UPLOAD, ["/data/city"]),
        (
            "{{ city }}",
            {"city": None},
            {"kind": "list", "recipients": [*BOTH, {"user_id": "eve"}]},
            ["/data/city"],
        ),
        ("{{ a.b }} {{ a['c/d'] }}", {"a": {"b": ""}}, UPLOAD, ["/data/a/b", "/data/a/c~1d"]),
        ("{{ name }} {{ city }} {{ user_id }}", {"city": ""}, QUERY, ["/data/name", "/data/city"]),
        ("{{ price|money('NGN') }}", {"price": "a lot"}, UPLOAD, ["/template/body"]),
        ("{% if never %}x{% endif %}", {"never": False}, QUERY, ["/template/body"]),
        ("{{ 1|number }}", {"locale": "Lagos"}, UPLOAD, ["/data/locale"]),
        ("{{ ctiy }} {{ city }}", {}, {"kind": "list", "recipients": BOTH}, ["/data/ctiy"]),
        (
            "{% if vpi %}x{% endif %}{{ a.b }}",
            {},
            {"kind": "list", "recipients": BOTH},
            ["/data/vpi", "/data/a/b"],
        ),
        ("{% for x in lst %}{{ x }}{% endfor %}", {}, {"kind": "list", "recipients": [EVE]}, ["/data/lst"]),
        ("{{ a|trim('x') }}", {"a": "xx"}, {"kind": "list", "recipients": [EVE]}, ["/template/body"]),
        ("{% if a > 1 %}x{% endif %}", {"a": None}, UPLOAD, ["/data/a"]),
        ("{{ a }}", {"a": ["b"]}, UPLOAD, ["/template/body"]),
    ],
)
async def test_what_is_wrong_for_every_recipient_is_refused_at_once(
    api: httpx.AsyncClient, body: str, data: dict[str, Any], audience: dict[str, Any], pointers: list[str]
) -> None:
    answer = await create(api, template={"body": body}, data=data, audience=audience)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


@pytest.mark.parametrize(
    ("body", "data", "audience"),
    [
        ("{{ city }}", {"city": None}, {"kind": "list", "recipients": BOTH}),
        ("{{ city }} {{ name }}", {"city": "Lagos"}, UPLOAD),
        ("{% if city %}{{ city }}{% endif %}{{ user_id }}", {"city": ""}, QUERY),
        ("{{ city|default('x') }}{{ user_id|upper }}", {"city": ""}, QUERY),
        ("{{ 1|number }}", {"locale": "fr-CI"}, QUERY),
        ("{{ locale }}", {"locale": "Lagos"}, UPLOAD),
        ("{{ user_id }}{{ name|d('x') }}{{ a.b|d(1) }}", {}, {"kind": "list", "recipients": [EVE]}),
        (
            "{% if name is defined %}{{ name }}{% else %}x{% endif %}",
            {},
            {"kind": "list", "recipients": [EVE]},
        ),
        ("{{ city }}{% if city %}{{ ctiy }}{% endif %}", {}, {"kind": "list", "recipients": [*BOTH, EVE]}),
        (
            "{{ 1|number }}",
            {},
            {"kind": "list", "recipients": [EVE, {"user_id": "f", "data": {"locale": "fr"}}]},
        ),
        ("{% for x in city %}{{ x }}{% endfor %}", {}, {"kind": "list", "recipients": BOTH}),
    ],
)
async def test_what_may_be_right_for_a_recipient_is_accepted(
    api: httpx.AsyncClient, body: str, data: dict[str, Any], audience: dict[str, Any]
) -> None:
    await created(api, template={"body": body}, data=data, audience=audience)


async def test_a_template_that_would_take_long_is_refused_soon(api: httpx.AsyncClient) -> None:
    """The process answers others meanwhile: nothing of a template is computed when it is read."""
    for body in (
        '{{ 1|round(2500000,"ceil") }}',
        "{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}",
        "{{a}}" * 13_000,
    ):
        answer = await create(api, template={"body": body}, audience=QUERY)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/template/body")


async def test_an_invalid_recipient_in_a_list_is_named(api: httpx.AsyncClient) -> None:
    recipients = [{"user_id": "ada"}, {"user_id": "bola", "to": {"sms": "12"}}]
    answer = await create(api, audience={"kind": "list", "recipients": recipients})
    (error,) = answer.json()["errors"]
    assert error["pointer"].endswith("/recipients/1/to/sms")
    assert error["code"] == "invalid_contact"


async def test_another_tenants_broadcast_does_not_exist(
    api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    id = (await created(api, audience=UPLOAD))["id"]
    answers = [
        await other.get(f"/broadcasts/{id}"),
        await other.get(f"/broadcasts/{id}/refused"),
        await other.post(f"/broadcasts/{id}/cancel"),
        await upload(other, id, "user_id\nada\n"),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {
        (404, "broadcast_not_found")
    }
    assert (await other.get("/broadcasts")).json()["broadcasts"] == []
    assert (await api.get(f"/broadcasts/{id}")).json()["status"] == "draft"


async def test_broadcasts_are_listed_newest_first(other: httpx.AsyncClient) -> None:
    ids = [(await created(other))["id"] for _ in range(3)]
    page = (await other.get("/broadcasts", params={"limit": 2})).json()
    rest = (await other.get("/broadcasts", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [item["id"] for item in page["broadcasts"] + rest["broadcasts"]] == ids[::-1]
    assert rest["next_cursor"] is None


async def test_it_is_paused_resumed_and_cancelled(api: httpx.AsyncClient) -> None:
    path = f"/broadcasts/{(await created(api))['id']}"

    async def decide(what: str) -> tuple[int, str]:
        answer = await api.post(f"{path}/{what}")
        return answer.status_code, answer.json().get("code") or answer.json()["status"]

    assert await decide("resume") == (200, "running")
    assert await decide("pause") == (200, "paused")
    assert await decide("pause") == (200, "paused")
    assert await decide("resume") == (200, "running")
    assert await decide("cancel") == (200, "cancelled")
    assert await decide("cancel") == (200, "cancelled")
    assert await decide("resume") == (409, "wrong_status")
    assert (await api.get(path)).json()["reason_code"] == "cancelled_by_client"


CSV_LINES = [
    b"\xef\xbb\xbfuser_id,to_sms,name",
    b"ada,+234 803 123 6789,Ada",
    b'bola,,"Bola ""B""',
    b'Lagos"\r',
    b"",
    b"chi,12,Chi",
    b"dan,,Dan,more",
    b"\xff\xfe,,x",
    b"eve,," + b"x" * LINE_BYTES_MAX,
    b'fay,,"an open quote',
    b"gus,,Gus",
    b",,nobody",
    b"hal,,Hal",
]
CSV_REFUSED = {
    6: "invalid_contact",
    7: "csv_columns",
    8: "charset",
    9: "line_too_long",
    10: "csv_quote_open",
    12: "too_short",
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_csv_is_read_in_parts_of_any_size_and_bad_lines_are_reported(
    api: httpx.AsyncClient, pool: Pool, size: int
) -> None:
    content = b"\n".join(CSV_LINES)
    id = (await created(api, audience=UPLOAD))["id"]

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    answer = await api.put(
        f"/broadcasts/{id}/audience", content=parts(), headers={"Content-Type": "text/csv; charset=utf-8"}
    )
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["status"], shown["progress"]["total"], shown["progress"]["refused"]) == ("running", 10, 6)
    assert await refused(api, id) == CSV_REFUSED
    rows = await pool.fetch("SELECT * FROM broadcast_recipients WHERE broadcast_id = $1 ORDER BY number", id)
    assert [(row["number"], row["user_id"], row["addresses"], row["data"]["name"]) for row in rows] == [
        (2, "ada", {"sms": "+2348031236789"}, "Ada"),
        (3, "bola", None, 'Bola "B"\nLagos'),
        (11, "gus", None, "Gus"),
        (13, "hal", None, "Hal"),
    ]


async def test_ndjson_is_read_and_bad_lines_are_reported(api: httpx.AsyncClient, pool: Pool) -> None:
    lines = [
        json.dumps({"user_id": "ada", "to": {"email": "a@example.com"}, "data": {"items": [1, 2]}}),
        "",
        "{not json",
        json.dumps({"user_id": "bola", "data": {"text": SECRET + "\0"}}),
        json.dumps({"user": "bola"}),
        "[" * 5000,
        '"' + "x" * LINE_BYTES_MAX + '"',
        json.dumps({"user_id": "chi"}),
    ]
    id = (await created(api, audience=UPLOAD))["id"]
    answer = await upload(api, id, "\n".join(lines), NDJSON)
    assert answer.status_code == 200, answer.text
    assert await refused(api, id) == {
        3: "malformed_json",
        4: "not_storable",
        5: "required",
        6: "malformed_json",
        7: "line_too_long",
    }
    text = (await api.get(f"/broadcasts/{id}/refused")).text
    assert SECRET not in text
    rows = await pool.fetch("SELECT * FROM broadcast_recipients WHERE broadcast_id = $1 ORDER BY number", id)
    assert [(row["number"], row["user_id"], row["data"]) for row in rows] == [
        (1, "ada", {"items": [1, 2]}),
        (8, "chi", None),
    ]


@pytest.mark.parametrize(
    ("content", "query", "code"),
    [
        ("", "", "audience_invalid"),
        ("name,user\nada,x\n", "", "audience_invalid"),
        ("user_id,user_id\n", "", "audience_invalid"),
        ("user_id\n", "", "audience_empty"),
        ("user_id\nada\n,,\nbola\n", "?refused_max=0", "audience_refused"),
        (b"\xff\xfe\n", "", "audience_invalid"),
    ],
)
async def test_an_invalid_upload_leaves_a_draft(
    api: httpx.AsyncClient, content: str | bytes, query: str, code: str
) -> None:
    id = (await created(api, audience=UPLOAD))["id"]
    answer = await upload(api, id, content, query=query)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await api.get(f"/broadcasts/{id}")).json()["status"] == "draft"
    assert (await upload(api, id, "user_id\nada\n")).json()["progress"]["total"] == 1
    assert await refused(api, id) == {}


async def test_a_refused_upload_that_has_arrived_is_answered_at_once(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long the rest of a refused body is waited for: here there is none.
    monkeypatch.setattr(body_limit, "_DRAIN_S", 1_000)
    id = (await created(api, audience=UPLOAD))["id"]
    answer = await upload(api, id, b"name\nAda\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "audience_invalid")


async def test_an_upload_that_is_cut_short_has_no_effect(api: httpx.AsyncClient, pool: Pool) -> None:
    id = (await created(api, audience=UPLOAD))["id"]

    async def broken() -> AsyncIterator[bytes]:
        yield b"user_id\n" + b"".join(b"user-%d\n" % number for number in range(600))
        await until(lambda: pool.fetchval(STORED, id))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await api.put(f"/broadcasts/{id}/audience", content=broken(), headers={"Content-Type": "text/csv"})
    assert (await api.get(f"/broadcasts/{id}")).json()["status"] == "draft"
    again = await upload(api, id, "user_id\nada\nbola\n")
    assert (again.json()["status"], again.json()["progress"]["total"]) == ("running", 2)


async def test_the_same_upload_again_changes_nothing(api: httpx.AsyncClient, pool: Pool) -> None:
    id = (await created(api, audience=UPLOAD))["id"]
    first = await upload(api, id, "user_id\nada\n")
    assert (await upload(api, id, "user_id\nada\n")).json() == first.json()
    digest = await pool.fetchval("SELECT digest FROM broadcasts WHERE id = $1", id)
    assert digest != hashlib.sha256(b"user_id\nada\n").digest(), "numbers in it could be tried"
    other = await upload(api, id, "user_id\nbola\n")
    assert (other.status_code, other.json()["code"]) == (409, "wrong_status")
    listed = (await created(api))["id"]
    assert (await upload(api, listed, "user_id\nada\n")).status_code == 409


async def test_an_upload_needs_a_known_content_type(api: httpx.AsyncClient) -> None:
    id = (await created(api, audience=UPLOAD))["id"]
    for kind in ("application/json", "text/plain", "text/csv; charset=latin-1"):
        assert (await upload(api, id, "user_id\nada\n", {"Content-Type": kind})).status_code == 400


async def test_an_upload_may_exceed_the_limit_of_other_bodies(api: httpx.AsyncClient) -> None:
    id = (await created(api, audience=UPLOAD))["id"]
    lines = "".join(f"user-{number:06},{'x' * 300}\n" for number in range(4000))
    answer = await upload(api, id, f"user_id,name\n{lines}")
    assert len(lines) > 1_000_000
    assert (answer.status_code, answer.json()["progress"]["total"]) == (200, 4000)
    assert (await api.post("/broadcasts", content=b"x" * 1_000_001)).status_code == 413


async def test_a_retry_after_the_expiry_is_replayed(api: httpx.AsyncClient) -> None:
    key = str(uuid4())
    at = datetime.now(UTC) + timedelta(seconds=0.5)
    assert (await create(api, key, expires_at=at.isoformat())).status_code == 202

    async def passed() -> bool:
        return datetime.now(UTC) > at

    await until(passed)
    assert (await create(api, key, expires_at=at.isoformat())).status_code == 200
    assert (await create(api, expires_at=at.isoformat())).json()["code"] == "validation_failed"
