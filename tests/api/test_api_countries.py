"""Phone numbers in requests: those that SMS may go to, and one spelling for every number."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from api_case import PHONE, Parked, Submit, body, loaded
from api_server import served, settings_for
from deliveries import delivery_over

from domain.notification import Channel
from storage import api_keys
from storage.ledger import Ledger
from storage.postgres import Pool

BRITISH = "+447400123456"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A herald.toml that lets SMS go to Nigeria and Ghana only."""
    path = tmp_path_factory.mktemp("narrow") / "herald.toml"
    path.write_text('[types.price_alert]\n[types.statement]\n[sms]\ncountries = ["ng", "GH"]\n')
    return path


@pytest_asyncio.fixture(scope="module")
async def narrow(database: str, pool: Pool, config: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An API with that configuration, and a key of the tenant `bank`."""
    key = await api_keys.create(pool, "bank", "narrow")
    async with (
        served(settings_for(database, config=config)) as url,
        httpx.AsyncClient(
            base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20
        ) as client,
    ):
        yield client


async def test_an_sms_to_another_country_is_refused(narrow: httpx.AsyncClient) -> None:
    answer = await narrow.post(
        "/notifications", json=body(to={"sms": BRITISH}), headers={"Idempotency-Key": "uk"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "pointer": "/to/sms",
            "code": "country_not_allowed",
            "message": "SMS may only go to numbers of NG, GH",
        }
    ]
    batch = {
        "notifications": [{**body(to={"sms": BRITISH}), "idempotency_key": "b1"}, body(idempotency_key="b2")]
    }
    items = (await narrow.post("/notifications/batch", json=batch)).json()["results"]
    assert [item["status"] for item in items] == [422, 202]
    # Without the SMS channel the number is not used.
    unused = body(channels=["email"], to={"sms": BRITISH, "email": "a@example.com"})
    assert (
        await narrow.post("/notifications", json=unused, headers={"Idempotency-Key": "mail"})
    ).status_code == 202


async def test_a_test_key_may_send_to_any_number(config: Path, database: str, pool: Pool) -> None:
    """The magic numbers are of the United States, and a test reaches no number at all."""
    key = await api_keys.create(pool, "bank", "narrow", test=True)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(settings_for(database, config=config)) as url,
        httpx.AsyncClient(base_url=f"{url}/v1", headers=headers, trust_env=False, timeout=20) as client,
    ):
        for number in ("+12025550100", BRITISH, "+449098790000", "+881612345678"):
            request = {**body(to={"sms": number}), "idempotency_key": number}
            answer = await client.post("/notifications", json=request)
            assert answer.status_code == 202, (number, answer.text)
            batch = {"notifications": [{**request, "idempotency_key": f"{number} in a batch"}]}
            [item] = (await client.post("/notifications/batch", json=batch)).json()["results"]
            assert item["status"] == 202, (number, item)
        invalid = await client.post(
            "/notifications", json={**body(to={"sms": "08031236789"}), "idempotency_key": "invalid"}
        )
        assert invalid.json()["errors"][0]["code"] == "invalid_contact"


async def test_a_notification_accepted_before_the_list_is_replayed(
    api: httpx.AsyncClient, narrow: httpx.AsyncClient
) -> None:
    request, key = body(to={"sms": BRITISH}), {"Idempotency-Key": "before the list"}
    first = await api.post("/notifications", json=request, headers=key)
    again = await narrow.post("/notifications", json=request, headers=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]


async def test_a_dead_letter_cannot_be_sent_to_another_country(
    narrow: httpx.AsyncClient, parked: Parked
) -> None:
    id = await parked()
    answer = await narrow.post(f"/dead-letters/{id}/retry", json={"to": {"sms": BRITISH}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/to/sms")


@pytest.mark.parametrize("number", ["+449098790000", "+491801234567", "+881612345678", "+979912345678"])
async def test_a_number_of_a_refused_type_is_refused(
    api: httpx.AsyncClient, parked: Parked, number: str
) -> None:
    message = "SMS do not go to numbers of these types: premium rate, satellite, shared cost"
    expected = [{"pointer": "/to/sms", "code": "number_type_refused", "message": message}]
    request = body(to={"sms": number})
    answer = await api.post("/notifications", json=request, headers={"Idempotency-Key": number})
    assert (answer.status_code, answer.json()["errors"]) == (422, expected)
    id = await parked()
    answer = await api.post(f"/dead-letters/{id}/retry", json={"to": {"sms": number}})
    assert (answer.status_code, answer.json()["errors"]) == (422, expected)
    batch = {"notifications": [{**request, "idempotency_key": "b1"}, body(idempotency_key="b2")]}
    items = (await api.post("/notifications/batch", json=batch)).json()["results"]
    assert [item["status"] for item in items] == [422, 202]
    [error] = items[0]["problem"]["errors"]
    assert (error["pointer"], error["code"]) == ("/notifications/0/to/sms", "number_type_refused")
    # It may be a contact: other channels use it too. An SMS to it fails when it is planned.
    stored = await api.put(f"/users/{number}/contacts", json={"phone": number})
    assert stored.status_code == 200, stored.text
    assert (
        await api.post(
            "/notifications",
            json=body(channels=["whatsapp"], to={"whatsapp": number}),
            headers={"Idempotency-Key": f"wa {number}"},
        )
    ).status_code == 202


async def test_a_number_has_one_spelling_in_every_request(
    api: httpx.AsyncClient, submit: Submit, parked: Parked, ledger: Ledger
) -> None:
    spelt = "+234 (803) 123-6789"
    shown = await submit(user_id="spelt", to={"sms": spelt})
    assert (await loaded(ledger, shown["id"])).recipient.sms == PHONE
    assert (await api.put("/users/spelt/contacts", json={"phone": spelt})).json()["phone"] == PHONE
    suppressed = await api.post("/suppressions", json={"channel": "sms", "address": spelt})
    assert suppressed.json()["address"] == PHONE
    listed = await api.get("/suppressions", params={"channel": "sms", "address": spelt})
    assert [entry["address"] for entry in listed.json()["suppressions"]] == [PHONE]
    gone = await api.delete("/suppressions", params={"channel": "sms", "address": spelt})
    assert gone.status_code == 204, gone.text
    id = await parked(to={"sms": "+2348031230000"})
    await api.post(f"/dead-letters/{id}/retry", json={"to": {"sms": spelt}})
    assert (await loaded(ledger, id)).recipient.sms == PHONE
    assert delivery_over((await loaded(ledger, id)), Channel.SMS)


async def test_an_invalid_number_is_refused(api: httpx.AsyncClient, parked: Parked) -> None:
    id = await parked()
    for wrong in ("08031236789", "+234803", "+999123456789", "+2348031236789,+2348031236780"):
        for method, path, request in (
            ("POST", "/notifications", body(to={"sms": wrong})),
            ("PUT", "/users/wrong/contacts", {"phone": wrong}),
            ("POST", "/suppressions", {"channel": "sms", "address": wrong}),
            ("POST", f"/dead-letters/{id}/retry", {"to": {"sms": wrong}}),
        ):
            answer = await api.request(method, path, json=request, headers={"Idempotency-Key": wrong})
            assert answer.status_code == 422, (path, wrong)
            assert answer.json()["errors"][0]["code"] == "invalid_contact"
