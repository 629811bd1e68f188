"""Fuzzing: no input causes a 5xx, and a refused request stores nothing."""

import copy
import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulators import webpush
from storage.postgres import Pool

TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(
        ["", "\0", "\ud800", "é\u202e", "2030-01-01T00:00:00Z", "1e400", "+2348031236789", "sms"]
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    TEXTS,
    st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "critical", "first"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)

NOTIFICATION: dict[str, Any] = {
    "user_id": "garbage",
    "type": "price_alert",
    "channels": ["sms", "email"],
    "strategy": "all",
    "content": {"title": "t", "body": "b"},
    "to": {"sms": "+2348031236789", "email": "ada@example.com", "push": "phone"},
    "lane": "high",
    "send_at": "2026-01-01T00:00:00Z",
    "metadata": {"a": [1]},
    "idempotency_key": "garbage",
}

DEVICE = {"device_id": "a", "fcm_token": "t", "webpush": webpush.subscription("ada")}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "/notifications": ("POST", NOTIFICATION),
    "/notifications/batch": ("POST", {"notifications": [NOTIFICATION, NOTIFICATION]}),
    "/users/{id}/contacts": ("PUT", {"phone": "+2348031236789", "email": "ada@example.com"}),
    "/users/{id}/devices": ("PUT", {"devices": [DEVICE]}),
    "/users/{id}/preferences": (
        "PUT",
        {
            "types": {"*": {"sms": True}},
            "time_zone": "Africa/Lagos",
            "quiet_hours": {"start": "22:00", "end": "07:00"},
        },
    ),
    "/suppressions": ("POST", {"channel": "sms", "address": "+2348031236789", "reason": "r"}),
    "/dead-letters/replay": (
        "POST",
        {
            "filter": {"type": "x", "channel": "sms", "created_after": "2020-01-01T00:00:00Z"},
            "dry_run": True,
            "rate_per_s": 1,
        },
    ),
    "/dead-letters/{id}/retry": (
        "POST",
        {"expires_at": "2030-01-01T00:00:00Z", "to": {"sms": "+2348031236789"}, "assume": "sent"},
    ),
    "/providers/{id}": ("PATCH", {"status": "active"}),
}

LISTS = {
    "/notifications": (
        *("user_id", "type", "status", "channel", "provider"),
        *("created_after", "created_before", "cursor", "limit"),
    ),
    "/dead-letters": ("user_id", "status", "reason_code", "created_after", "cursor", "limit"),
    "/suppressions": ("channel", "address", "cursor", "limit"),
}

IDS = st.one_of(
    st.just("00000000-0000-0000-0000-000000000000"), TEXTS.filter(lambda text: "\ud800" not in text)
)
EASY = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every place in a JSON value."""
    found = [at]
    if isinstance(value, dict):
        found += [place for key in value for place in places(value[key], (*at, key))]
    elif isinstance(value, list):
        found += [place for index in range(len(value)) for place in places(value[index], (*at, index))]
    return found


@st.composite
def spoilt(draw: st.DrawFn, valid: dict[str, Any]) -> Any:
    """The valid body with one or two places replaced by random values, and perhaps an unknown field."""
    body = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places(body)))
        if not place:
            return draw(VALUES)
        inner = body
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = draw(VALUES)
    if draw(st.booleans()):
        body[draw(TEXTS)] = draw(VALUES)
    return body


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, Any]:
    path = draw(st.sampled_from(sorted(BODIES)))
    method, valid = BODIES[path]
    return method, path.replace("{id}", _quoted(draw(IDS)) or "x"), draw(spoilt(valid))


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")


def check(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]


@EASY
@given(requests())
async def test_no_json_body_causes_a_server_error(
    api: httpx.AsyncClient, asked: tuple[str, str, Any]
) -> None:
    method, path, body = asked
    content = json.dumps(body).encode()
    check(await api.request(method, path, content=content, headers={"Content-Type": "application/json"}))


@EASY
@given(st.sampled_from(sorted(LISTS)), st.data())
async def test_no_query_causes_a_server_error(api: httpx.AsyncClient, path: str, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(LISTS[path]), max_size=3, unique=True))
    query = "&".join(f"{name}={_quoted(data.draw(TEXTS))}" for name in names)
    check(await api.get(f"{path}?{query}"))


@EASY
@given(
    st.binary(max_size=200), st.sampled_from(["/notifications", "/callbacks/mailgun", "/callbacks/twilio"])
)
async def test_no_bytes_cause_a_server_error(api: httpx.AsyncClient, content: bytes, path: str) -> None:
    answer = await api.post(path, content=content, headers={"Content-Type": "application/json"})
    check(answer)
    assert answer.status_code in (400, 401, 422)


async def test_no_notification_is_stored_in_part(pool: Pool) -> None:
    """Every notification has its content, its deliveries and its place in the queue."""
    torn = await pool.fetchval(
        "SELECT count(*) FROM notifications n WHERE NOT EXISTS (SELECT FROM deliveries d"
        " WHERE d.notification_id = n.id) OR NOT EXISTS (SELECT FROM notification_contents c"
        " WHERE c.notification_id = n.id) OR NOT EXISTS (SELECT FROM due WHERE due.id = n.id)"
    )
    assert torn == 0
