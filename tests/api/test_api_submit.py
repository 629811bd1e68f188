"""Submitting: idempotent by key, with a clear error for every invalid request."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from api_case import PHONE, body, together

from storage.maintenance import scrub_expired
from storage.postgres import Pool

KEY = "Idempotency-Key"


def soon(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


async def test_a_new_notification_is_accepted(api: httpx.AsyncClient, pool: Pool) -> None:
    asked = body(channels=["sms", "email"], strategy="first", metadata={"transaction": {"no": [1, None]}})
    answer = await api.post("/notifications", json=asked, headers={KEY: "one"})
    assert answer.status_code == 202
    shown = answer.json()
    assert answer.headers["location"] == f"/v1/notifications/{shown['id']}"
    assert "idempotency-replayed" not in answer.headers
    assert (shown["status"], shown["lane"], shown["channels"]) == ("accepted", "normal", ["sms", "email"])
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["accepted", "waiting"]
    read = (await api.get(answer.headers["location"].removeprefix("/v1"))).json()
    assert read == shown
    assert await pool.fetchval("SELECT count(*) FROM due WHERE id = $1", shown["id"]) == 1


async def test_a_repeated_request_shows_the_current_state(api: httpx.AsyncClient) -> None:
    asked = body(send_at=soon(hours=1))
    first = await api.post("/notifications", json=asked, headers={KEY: "two"})
    cancelled = await api.post(f"/notifications/{first.json()['id']}/cancel")
    assert cancelled.status_code == 200
    again = await api.post("/notifications", json=asked, headers={KEY: "two"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "cancelled")


async def test_the_same_key_with_another_body_is_refused(api: httpx.AsyncClient) -> None:
    asked = body()
    await api.post("/notifications", json=asked, headers={KEY: "three"})
    other = await api.post(
        "/notifications", json=asked | {"content": {"body": "other"}}, headers={KEY: "three"}
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_same_key_of_another_user_or_type_is_another_notification(api: httpx.AsyncClient) -> None:
    asked = body()
    answers = [
        await api.post("/notifications", json=asked | change, headers={KEY: "four"})
        for change in ({}, {"user_id": "another"}, {"type": "statement"})
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_concurrent_duplicates_create_one_notification(api: httpx.AsyncClient, pool: Pool) -> None:
    asked = body()
    answers = await together(
        *(api.post("/notifications", json=asked, headers={KEY: "twenty"}) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    count = await pool.fetchval("SELECT count(*) FROM notifications WHERE user_id = $1", asked["user_id"])
    assert count == 1


@pytest.mark.parametrize(
    ("headers", "in_body", "code"),
    [
        ([], None, "idempotency_key_missing"),
        ([(KEY, "a")], "b", "idempotency_key_conflict"),
        ([(KEY, "a"), (KEY, "b")], None, "idempotency_key_conflict"),
        ([(KEY, "x" * 256)], None, "idempotency_key_invalid"),
        ([(KEY, "")], None, "idempotency_key_invalid"),
        ([(KEY, "schlüssel".encode())], None, "idempotency_key_invalid"),
    ],
)
async def test_a_wrong_key_is_a_bad_request(
    api: httpx.AsyncClient, headers: list[Any], in_body: str | None, code: str
) -> None:
    answer = await api.post("/notifications", json=body(idempotency_key=in_body), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_the_key_may_be_in_the_body_or_in_both(api: httpx.AsyncClient) -> None:
    asked = body(idempotency_key="in the body")
    answers = [
        await api.post("/notifications", json=asked),
        await api.post("/notifications", json=asked, headers={KEY: "in the body"}),
        await api.post(
            "/notifications",
            json={name: value for name, value in asked.items() if name != "idempotency_key"},
            headers={KEY: "in the body"},
        ),
    ]
    assert [answer.status_code for answer in answers] == [202, 200, 200]


INVALID: list[tuple[dict[str, Any], str, str]] = [
    ({"user_id": None}, "/user_id", "required"),
    ({"user_id": ""}, "/user_id", "too_short"),
    ({"user_id": "a\0b"}, "/user_id", "not_storable"),
    ({"user_id": 7}, "/user_id", "wrong_type"),
    ({"user_id": "x" * 256}, "/user_id", "too_long"),
    ({"type": "horoscope"}, "/type", "unknown_type"),
    ({"channels": []}, "/channels", "too_short"),
    ({"channels": ["sms", "fax"]}, "/channels/1", "unknown_channel"),
    ({"channels": ["sms", "sms"]}, "/channels", "not_unique"),
    ({"channels": "sms"}, "/channels", "wrong_type"),
    ({"channels": [{}]}, "/channels/0", "not_one_of"),
    ({"strategy": "some"}, "/strategy", "not_one_of"),
    ({"content": {"body": ""}}, "/content/body", "too_short"),
    ({"content": {"body": "\ud800"}}, "/content/body", "not_storable"),
    ({"content": {"body": "a\0"}}, "/content/body", "not_storable"),
    ({"content": {"title": "only"}}, "/content/body", "required"),
    ({"content": {"title": "Hi\r\nBcc: x@example.com", "body": "b"}}, "/content/title", "not_one_line"),
    ({"content": {"title": "Hi\u2028there", "body": "b"}}, "/content/title", "not_one_line"),
    ({"to": {"sms": "0803 123"}}, "/to/sms", "invalid_contact"),
    ({"to": {"sms": "+999123456789"}}, "/to/sms", "invalid_contact"),
    ({"to": {"email": "nobody"}}, "/to/email", "invalid_contact"),
    ({"to": {"fax": "1"}}, "/to/fax", "unknown_field"),
    ({"lane": "urgent"}, "/lane", "not_one_of"),
    ({"lane": "critical"}, "/lane", "lane_not_allowed"),
    ({"send_at": 1_900_000_000}, "/send_at", "invalid_time"),
    ({"send_at": "1900000000"}, "/send_at", "invalid_time"),
    ({"send_at": "2030-01-01T00:00:00"}, "/send_at", "invalid_time"),
    ({"send_at": "0001-01-01T00:00:00+14:00"}, "/send_at", "invalid_time"),
    ({"send_at": "9999-12-31T00:00:00Z"}, "/send_at", "out_of_range"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "in_the_past"),
    ({"send_at": soon(hours=2), "expires_at": soon(hours=1)}, "/expires_at", "before_send_at"),
    ({"metadata": {"a": "\0"}}, "/metadata", "not_storable"),
    ({"metadata": []}, "/metadata", "wrong_type"),
    ({"metadata": {"a": "x" * 20_000}}, "/metadata", "too_long"),
    ({"metadata": {"a": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}}, "/metadata", "too_deep"),
    ({"idempotency_key": "x" * 256}, "/idempotency_key", "too_long"),
    ({"prio": "high"}, "/prio", "unknown_field"),
    ({"a/b~c": 1}, "/a~1b~0c", "unknown_field"),
    ({"\ud800": 1}, "", "invalid"),
]


@pytest.mark.parametrize(("change", "pointer", "code"), INVALID, ids=[f"{p} {c}" for _, p, c in INVALID])
async def test_an_invalid_field_is_named(
    api: httpx.AsyncClient, pool: Pool, change: dict[str, Any], pointer: str, code: str
) -> None:
    asked = body(**change)
    for name in [name for name, value in change.items() if value is None]:
        asked.pop(name, None)
    answer = await api.post(
        "/notifications",
        content=json.dumps(asked).encode(),
        headers={KEY: "invalid", "Content-Type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "validation_failed"
    assert problem["type"] == "urn:herald:problem:validation_failed"
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in problem["errors"]}
    assert await pool.fetchval("SELECT count(*) FROM notifications WHERE idempotency_key = 'invalid'") == 0


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        (b"{", "malformed_json", "not JSON (at position 1)"),
        (b"nothing", "malformed_json", "not JSON (at position 0)"),
        (b'{"user_id": "\xff"}', "charset", "not UTF-8"),
        (b"\xff\xfe", "charset", "not UTF-8"),
        (json.dumps(body()).encode("utf-16"), "charset", "not UTF-8"),
        (json.dumps(body()).encode("utf-16-le"), "charset", "not UTF-8"),
        (json.dumps(body()).encode("utf-32-be"), "charset", "not UTF-8"),
        (b"[" * 100_000, "too_deep", "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number_too_long", "more than 4300 digits"),
    ],
    ids=["cut", "word", "not utf-8", "mark", "utf-16", "utf-16-le", "utf-32-be", "deep", "long number"],
)
async def test_an_unreadable_body_is_a_bad_request(
    api: httpx.AsyncClient, content: bytes, code: str, detail: str
) -> None:
    answer = await api.post(
        "/notifications", content=content, headers={KEY: "k", "Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert detail in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_missing_body_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post("/notifications", headers={KEY: "k", "Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "required")


async def test_the_body_is_utf_8_and_other_charsets_are_refused(api: httpx.AsyncClient) -> None:
    for number, charset in enumerate(("", ";charset=utf-8", '; charset="UTF-8"', "; version=1")):
        heads = {KEY: f"charset {number}", "Content-Type": f"application/json{charset}"}
        content = b"\xef\xbb\xbf" + json.dumps(body()).encode()
        answer = await api.post("/notifications", content=content, headers=heads)
        assert answer.status_code == 202, answer.text
    for charset in ("latin-1", "utf-16", "ISO-8859-1"):
        heads = {KEY: "charset", "Content-Type": f"application/json; charset={charset}"}
        answer = await api.post("/notifications", content=json.dumps(body()).encode(), headers=heads)
        assert (answer.status_code, answer.json()["code"]) == (400, "charset")


async def test_text_lengths_are_given_in_characters(api: httpx.AsyncClient) -> None:
    asked = body(user_id="", content={"body": "", "title": "x" * 501}, idempotency_key="x" * 256)
    errors = (await api.post("/notifications", json=asked)).json()["errors"]
    assert [(error["pointer"], error["message"]) for error in errors] == [
        ("/user_id", "String should have at least 1 character"),
        ("/content/body", "String should have at least 1 character"),
        ("/content/title", "String should have at most 500 characters"),
        ("/idempotency_key", "String should have at most 255 characters"),
    ]
    query = {"channel": "sms", "address": "x" * 4097}
    (error,) = (await api.get("/suppressions", params=query)).json()["errors"]
    assert error["message"] == "String should have at most 4096 characters"


async def test_numbers_that_json_does_not_have_are_refused(api: httpx.AsyncClient) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        text = json.dumps(body()).removesuffix("}") + f', "metadata": {{"n": {number}}}}}'
        answer = await api.post(
            "/notifications",
            content=text.encode(),
            headers={KEY: f"number {number}", "Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_storable")


@pytest.mark.parametrize(
    "kind",
    [
        'application/json;a="' + ";" * 60_000,
        "application/json" + ";" * 60_000,
        "application/json; charset*" + "9" * 5_000 + "=x",
        "application/json" + ";charset=x" * 6_000,
        "application/json;" + " " * 60_000 + "x",
        "application/" + "j" * 60_000,
    ],
    ids=lambda kind: f"{kind[:24]}…",
)
async def test_a_long_content_type_is_refused_unread(api: httpx.AsyncClient, kind: str) -> None:
    one = await api.post("/notifications", json=body(), headers={KEY: "long", "Content-Type": kind})
    audience = await api.put(f"/broadcasts/{uuid4()}/audience", content=b"x", headers={"Content-Type": kind})
    for answer in (one, audience):
        assert (answer.status_code, answer.json()["code"]) == (400, "content_type"), answer.text[:300]


@pytest.mark.parametrize(
    "charset",
    [
        "charset*=%00''%41",
        "charset*=rot13''x",
        'charset="',
        "charset=utf-8\xa0",
        "charset=rot13",
    ],
)
async def test_a_strange_charset_is_no_internal_error(api: httpx.AsyncClient, charset: str) -> None:
    heads = {KEY: str(uuid4()), "Content-Type": f"application/json; {charset}".encode("latin-1")}
    assert (await api.post("/notifications", json=body(), headers=heads)).status_code in (202, 400)
    heads = {"Content-Type": f"text/csv; {charset}".encode("latin-1")}
    uploaded = await api.put(f"/broadcasts/{uuid4()}/audience", content=b"x", headers=heads)
    assert uploaded.status_code in (400, 404)


async def test_the_content_type_may_be_missing_but_not_wrong(api: httpx.AsyncClient) -> None:
    content = json.dumps(body()).encode()
    without = await api.post("/notifications", content=content, headers={KEY: "no type"})
    assert without.status_code == 202
    form = {KEY: "form", "Content-Type": "application/x-www-form-urlencoded"}
    wrong = await api.post("/notifications", content=content, headers=form)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "content_type")


async def test_a_retry_after_the_expiry_is_replayed(api: httpx.AsyncClient) -> None:
    asked = body(expires_at=soon(seconds=0.5))
    first = await api.post("/notifications", json=asked, headers={KEY: "late"})
    assert first.status_code == 202
    async with asyncio.timeout(60):
        while (await api.post("/notifications", json=asked, headers={KEY: f"{uuid4()}"})).status_code == 202:
            pass
    again = await api.post("/notifications", json=asked, headers={KEY: "late"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    batch = {"notifications": [asked | {"idempotency_key": "late"}]}
    (item,) = (await api.post("/notifications/batch", json=batch)).json()["results"]
    assert (item["status"], item["id"]) == (200, first.json()["id"])


async def test_contacts_are_stored_in_one_spelling(api: httpx.AsyncClient, pool: Pool) -> None:
    to = {"sms": "+234 (803) 123-6789", "email": "Ada@EXAMPLE.com"}
    shown = (await api.post("/notifications", json=body(to=to), headers={KEY: "spelling"})).json()
    stored = await pool.fetchrow(
        "SELECT to_sms, to_email FROM notification_contents WHERE notification_id = $1", shown["id"]
    )
    assert stored is not None
    assert tuple(stored) == (PHONE, "Ada@example.com")


async def test_a_type_may_have_its_content_scrubbed_and_its_own_lane(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    asked = body(type="otp", lane="critical")
    shown = (await api.post("/notifications", json=asked, headers={KEY: "otp"})).json()
    row = await pool.fetchrow("SELECT scrub, lane FROM notifications WHERE id = $1", shown["id"])
    assert row is not None
    assert tuple(row) == (True, 0)


@pytest.mark.parametrize("removed", [False, True], ids=["hidden", "removed"])
async def test_private_metadata_is_shown_until_the_content_expires(
    api: httpx.AsyncClient, pool: Pool, removed: bool
) -> None:
    metadata = {"code": "774411", "order": "A-17"}
    asked = body(type="otp", lane="critical", metadata=metadata)
    shown = (await api.post("/notifications", json=asked, headers={KEY: f"private-{removed}"})).json()
    assert (await api.get(f"/notifications/{shown['id']}")).json()["metadata"] == metadata
    for table, key in (
        ("notifications", "id"),
        ("deliveries", "notification_id"),
        ("expiring_contents", "notification_id"),
    ):
        past = f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE {key} = $1"
        await pool.execute(past, UUID(shown["id"]))
    if removed:
        await scrub_expired(pool, 1000)
    assert (await api.get(f"/notifications/{shown['id']}")).json()["metadata"] == {"order": "A-17"}


async def test_each_item_of_a_batch_has_its_own_result(api: httpx.AsyncClient, pool: Pool) -> None:
    before = body(idempotency_key="b0")
    await api.post("/notifications", json=before)
    new = body(idempotency_key="b1")
    items = [
        before,
        new,
        new,
        new | {"content": {"body": "other"}},
        body(idempotency_key="b2", channels=["fax"]),
        body(),
        "nonsense",
        body(idempotency_key="b3", expires_at="2020-01-01T00:00:00Z"),
        body(idempotency_key="b4", type="horoscope"),
        body(idempotency_key="b5"),
    ]
    answer = await api.post("/notifications/batch", json={"notifications": items})
    assert answer.status_code == 200, answer.text
    out = answer.json()
    assert [item["status"] for item in out["results"]] == [200, 202, 200, 422, 422, 422, 422, 422, 422, 202]
    assert [item["index"] for item in out["results"]] == list(range(10))
    assert (out["accepted"], out["replayed"], out["refused"]) == (2, 2, 6)
    assert out["results"][1]["id"] == out["results"][2]["id"] == out["results"][2]["notification"]["id"]
    problems = [item["problem"] for item in out["results"] if item["problem"]]
    assert problems[0]["code"] == "idempotency_key_reused"
    pointers = [problem["errors"][0]["pointer"] for problem in problems[1:]]
    assert pointers == [
        "/notifications/4/channels/0",
        "/notifications/5/idempotency_key",
        "/notifications/6",
        "/notifications/7/expires_at",
        "/notifications/8/type",
    ]


async def test_a_batch_has_1_to_1000_items(api: httpx.AsyncClient) -> None:
    small = body(content={"body": "x"}, to=None)
    items = [small | {"idempotency_key": f"size {number}"} for number in range(1000)]
    full = await api.post("/notifications/batch", json={"notifications": items})
    assert (full.status_code, full.json()["accepted"]) == (200, 1000)
    for wrong, code in (([*items, items[0]], "too_long"), ([], "too_short")):
        answer = await api.post("/notifications/batch", json={"notifications": wrong})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"pointer": "/notifications", "code": code, "message": answer.json()["errors"][0]["message"]}
        ]


async def test_the_results_of_a_long_batch_are_in_its_order(api: httpx.AsyncClient) -> None:
    items = [body(idempotency_key=f"n{n}", channels=["sms" if n % 3 else "fax"]) for n in range(80)]
    await api.post("/notifications/batch", json={"notifications": items[40:]})
    results = (await api.post("/notifications/batch", json={"notifications": items})).json()["results"]
    assert [item["index"] for item in results] == list(range(80))
    assert [item["status"] for item in results] == [
        422 if n % 3 == 0 else 202 if n < 40 else 200 for n in range(80)
    ]
    keys = [item["notification"] and item["notification"]["idempotency_key"] for item in results]
    assert keys == [f"n{n}" if n % 3 else None for n in range(80)]
