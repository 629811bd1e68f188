"""Users' contacts, devices and preferences, and suppressed addresses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from api_case import PHONE

from domain.notification import Channel
from domain.outcome import AddressVerdict
from simulators import webpush
from storage.address_verdicts import apply_verdict
from storage.postgres import Pool

TOKEN = "fcm-token-0123456789"
SUBSCRIPTION = webpush.subscription("ada")


async def test_contacts_are_replaced_in_one_spelling(api: httpx.AsyncClient) -> None:
    path = "/users/ada/contacts"
    put = await api.put(path, json={"phone": "+234 803 123 6789", "email": "Ada@Example.COM"})
    assert (put.status_code, put.json()) == (
        200,
        {"phone": PHONE, "email": "Ada@example.com", "whatsapp": None},
    )
    assert (await api.get(path)).json() == put.json()
    await api.put("/users/ada/preferences", json={"time_zone": "Africa/Lagos"})
    await api.put(path, json={"phone": PHONE, "whatsapp": "+44 7700 900123"})
    assert (await api.get(path)).json() == {"phone": PHONE, "email": None, "whatsapp": "+447700900123"}
    assert (await api.get("/users/ada/preferences")).json()["time_zone"] == "Africa/Lagos"


async def test_a_user_id_may_hold_anything_a_url_can_carry(api: httpx.AsyncClient) -> None:
    for user in ("a%2Fb", "%E2%98%83", "a%20b", "contacts", "a%3Fb%23c"):
        put = await api.put(f"/users/{user}/contacts", json={"phone": PHONE})
        assert put.status_code == 200, put.text
        assert (await api.get(f"/users/{user}/contacts")).json()["phone"] == PHONE


@pytest.mark.parametrize("escaped", ["%E9ric", "%FF", "%C3", "%ED%A0%80", "%C3/%A9"])
async def test_an_id_that_is_not_utf_8_is_refused(api: httpx.AsyncClient, escaped: str) -> None:
    """Read with replacement characters, the ids of several users would be one."""
    put = await api.put(f"/users/{escaped.replace('/', '%2F')}/contacts", json={"phone": PHONE})
    assert (put.status_code, put.json()["code"]) == (400, "charset")
    found = await api.get(f"/notifications?user_id={escaped}")
    assert (found.status_code, found.json()["code"]) == (400, "charset")
    assert (await api.get("/users/%EF%BF%BD/contacts")).status_code == 404


async def test_a_token_registered_again_survives_an_earlier_verdict(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    path, device = "/users/eve/devices", {"device_id": "phone", "apns_token": "e" * 64}
    await api.put(path, json={"devices": [device]})
    await pool.execute(
        "UPDATE devices SET registered_at = now() - interval '2 days', confirmed_at = NULL"
        " WHERE user_id = 'eve'"
    )
    shown = (await api.get(path)).json()["devices"][0]
    again = (await api.put(path, json={"devices": [device]})).json()["devices"][0]
    assert again == shown, "registering the same token again keeps its registration time"

    async def judged(known_at: datetime) -> str | None:
        await apply_verdict(
            pool,
            AddressVerdict.DEACTIVATE_TOKEN,
            tenant="bank",
            user_id="eve",
            channel=Channel.PUSH,
            address="e" * 64,
            code="unregistered",
            provider="apns",
            intended_at=known_at,
        )
        return (await api.get(path)).json()["devices"][0]["apns_token"]

    now = datetime.now(UTC)
    assert await judged(now - timedelta(days=1)) == "e" * 64
    assert await judged(now + timedelta(minutes=1)) is None


async def test_devices_are_replaced(api: httpx.AsyncClient, pool: Pool) -> None:
    path = "/users/bob/devices"
    phone = {"device_id": "phone", "fcm_token": TOKEN, "apns_token": "a" * 64}
    tablet = {"device_id": "tablet", "fcm_token": "another"}
    put = await api.put(path, json={"devices": [phone, tablet]})
    assert put.status_code == 200, put.text
    first = put.json()["devices"]
    assert [device["device_id"] for device in first] == ["phone", "tablet"]
    await pool.execute(
        "UPDATE devices SET fcm_token = NULL, deactivated_at = now(), deactivated_reason = 'unregistered'"
        " WHERE device_id = 'tablet'"
    )
    dead = (await api.get(path)).json()["devices"][1]
    assert (dead["fcm_token"], dead["deactivated_reason"]) == (None, "unregistered")
    again = (await api.put(path, json={"devices": [phone, tablet]})).json()["devices"]
    by_id = {device["device_id"]: device for device in again}
    assert (by_id["tablet"]["fcm_token"], by_id["tablet"]["deactivated_at"]) == ("another", None)
    assert by_id["tablet"]["registered_at"] >= first[1]["registered_at"]
    # An unchanged device keeps its registration.
    assert by_id["phone"] == first[0]
    assert (await api.put(path, json={"devices": []})).json() == {"devices": []}


async def test_a_browsers_subscription_is_accepted_as_a_device(api: httpx.AsyncClient, pool: Pool) -> None:
    path, subscription = "/users/web/devices", webpush.subscription("ada")
    put = await api.put(path, json={"devices": [{"device_id": "laptop", "webpush": subscription}]})
    assert put.status_code == 200, put.text
    [device] = put.json()["devices"]
    kept = {"endpoint": subscription["endpoint"], "keys": subscription["keys"]}
    assert (device["webpush"], device["fcm_token"]) == (kept, None)
    again = await api.put(path, json={"devices": [{"device_id": "laptop", "webpush": kept}]})
    assert again.json() == put.json() == (await api.get(path)).json()
    await pool.execute("UPDATE devices SET webpush = 'http://old.example/a#whatever' WHERE user_id = 'web'")
    assert (await api.get(path)).json()["devices"][0]["webpush"]["endpoint"] == "http://old.example/a"


async def test_a_subscription_must_be_at_a_push_service(api: httpx.AsyncClient) -> None:
    good = {"device_id": "a", "webpush": webpush.subscription("ada")}
    for host in ("127.0.0.1", "localhost", "internal.example", "fcm.googleapis.com.evil.example"):
        wrong = {"device_id": "b", "webpush": webpush.subscription("ada", host)}
        answer = await api.put("/users/ssrf/devices", json={"devices": [good, wrong]})
        assert answer.status_code == 422, host
        [error] = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == ("/devices/1/webpush/endpoint", "endpoint_not_allowed")
    assert (await api.get("/users/ssrf/devices")).status_code == 404


async def test_preferences_are_replaced(api: httpx.AsyncClient, pool: Pool) -> None:
    path = "/users/eve/preferences"
    wanted = {
        "types": {"*": {"email": False}, "marketing": {"sms": False, "push": True}},
        "time_zone": "Africa/Lagos",
        "quiet_hours": {"start": "22:00", "end": "07:00"},
    }
    assert (await api.put(path, json=wanted)).status_code == 200
    assert (await api.get(path)).json() == wanted
    less = {"types": {"marketing": {"sms": True}}, "time_zone": None, "quiet_hours": None}
    await api.put(path, json=less)
    assert (await api.get(path)).json() == less
    rows = await pool.fetch("SELECT type, channel, enabled FROM user_notification_settings")
    assert [tuple(row) for row in rows] == [("marketing", "sms", True)]


async def test_unknown_users_are_not_found(api: httpx.AsyncClient) -> None:
    for part in ("contacts", "devices", "preferences"):
        answer = await api.get(f"/users/nobody/{part}")
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


@pytest.mark.parametrize(
    ("path", "asked", "pointer", "code"),
    [
        ("u/contacts", {"phone": "12"}, "/phone", "invalid_contact"),
        ("u/contacts", {"email": "x@"}, "/email", "invalid_contact"),
        ("u/contacts", {"fax": "1"}, "/fax", "unknown_field"),
        ("%00/contacts", {}, "/path/user_id", "not_storable"),
        ("x" * 256 + "/contacts", {}, "/path/user_id", "too_long"),
        ("u/devices", {"devices": [{"device_id": "a"}]}, "/devices/0", "required"),
        ("u/devices", {"devices": [{"device_id": "a", "fcm_token": "t"}] * 2}, "", "not_unique"),
        (
            "u/devices",
            {"devices": [{"device_id": "a", "fcm_token": ""}]},
            "/devices/0/fcm_token",
            "too_short",
        ),
        *(
            (
                "u/devices",
                {"devices": [{"device_id": "a", "webpush": {**SUBSCRIPTION, **wrong}}]},
                f"/devices/0/webpush/{place}",
                code,
            )
            for wrong, place, code in (
                ({"endpoint": "http://fcm.googleapis.com/a"}, "endpoint", "invalid_subscription"),
                ({"endpoint": "https://fcm.googleapis.com:1/a"}, "endpoint", "invalid_subscription"),
                ({"endpoint": None}, "endpoint", "wrong_type"),
                ({"keys": {**SUBSCRIPTION["keys"], "p256dh": "BAAA"}}, "keys/p256dh", "invalid_subscription"),
                ({"keys": {**SUBSCRIPTION["keys"], "auth": "AAAA"}}, "keys/auth", "invalid_subscription"),
                ({"keys": {}}, "keys/auth", "required"),
                ({"more": 1}, "more", "unknown_field"),
            )
        ),
        ("u/preferences", {"types": {"horoscope": {"sms": True}}}, "/types/horoscope", "unknown_type"),
        ("u/preferences", {"types": {"otp": {"sms": "maybe"}}}, "/types/otp/sms", "wrong_type"),
        ("u/preferences", {"types": {"otp": {"fax": True}}}, "/types/otp/fax", "not_one_of"),
        ("u/preferences", {"types": {"": {}}}, "/types/", "too_short"),
        ("u/preferences", {"[key]": {}}, "/[key]", "unknown_field"),
        ("u/preferences", {"time_zone": "Lagos"}, "/time_zone", "invalid_preference"),
        ("u/preferences", {"time_zone": "../etc/passwd"}, "/time_zone", "invalid_preference"),
        (
            "u/preferences",
            {"quiet_hours": {"start": "25:00", "end": "07:00"}},
            "/quiet_hours/start",
            "invalid_preference",
        ),
        ("u/preferences", {"time_zone": "localtime"}, "/time_zone", "invalid_preference"),
        (
            "u/preferences",
            {"quiet_hours": {"start": "7:00", "end": "07:00"}},
            "/quiet_hours",
            "quiet_hours_empty",
        ),
        ("u/preferences", {"quiet_hours": {"start": "22:00"}}, "/quiet_hours/end", "required"),
    ],
)
async def test_an_invalid_field_is_named(
    api: httpx.AsyncClient, path: str, asked: dict[str, Any], pointer: str, code: str
) -> None:
    answer = await api.put(f"/users/{path}", json=asked)
    assert answer.status_code == 422, answer.text
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}


async def test_a_suppression_is_added_and_removed(api: httpx.AsyncClient) -> None:
    put = await api.post("/suppressions", json={"channel": "sms", "address": "+234 803 123 6789"})
    assert put.status_code == 201, put.text
    assert (put.json()["address"], put.json()["reason"], put.json()["source"]) == (PHONE, "requested", "api")
    again = {"channel": "sms", "address": PHONE, "reason": "other"}
    assert (await api.post("/suppressions", json=again)).json() == put.json()
    query = {"channel": "sms", "address": "+234 803 1236789"}
    assert (await api.get("/suppressions", params=query)).json()["suppressions"] == [put.json()]
    assert (await api.delete("/suppressions", params=query)).status_code == 204
    gone = await api.delete("/suppressions", params=query)
    assert (gone.status_code, gone.json()["code"]) == (404, "suppression_not_found")


async def test_suppressions_come_in_pages(api: httpx.AsyncClient) -> None:
    addresses = sorted(f"user{number}@example.com" for number in range(5))
    for address in addresses:
        await api.post("/suppressions", json={"channel": "email", "address": address})
    seen: list[str] = []
    query: dict[str, str | int] = {"channel": "email", "limit": 2}
    for _ in range(3):
        page = (await api.get("/suppressions", params=query)).json()
        seen += [item["address"] for item in page["suppressions"]]
        query["cursor"] = page["next_cursor"] or ""
    assert seen == addresses


@pytest.mark.parametrize(
    ("method", "query", "asked", "pointer"),
    [
        ("GET", {"channel": "fax"}, None, "/query/channel"),
        ("GET", {"address": PHONE}, None, "/query/channel"),
        ("GET", {"channel": "sms", "address": "1"}, None, "/query/address"),
        ("GET", {"cursor": "e30="}, None, "/query/cursor"),
        ("GET", {"cursor": "W10="}, None, "/query/cursor"),
        ("GET", {"cursor": "é"}, None, "/query/cursor"),
        ("DELETE", {"channel": "sms"}, None, "/query/address"),
        ("DELETE", {"channel": "email", "address": "x"}, None, "/query/address"),
        ("POST", {}, {"channel": "sms", "address": "x"}, "/address"),
        ("POST", {}, {"channel": "push"}, "/address"),
    ],
)
async def test_an_invalid_suppression_request_names_the_field(
    api: httpx.AsyncClient, method: str, query: dict[str, str], asked: dict[str, Any] | None, pointer: str
) -> None:
    answer = await api.request(method, "/suppressions", params=query, json=asked)
    assert answer.status_code == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
