"""The providers' order and status, and draining one."""

import asyncio

import httpx

from providers import registry
from storage.postgres import Pool


async def test_every_provider_is_shown(operator: httpx.AsyncClient, pool: Pool) -> None:
    await pool.execute("INSERT INTO providers (name, circuit, circuit_at) VALUES ('mailgun', 'open', now())")
    shown = (await operator.get("/providers")).json()
    routed = [p for p in shown["providers"] if p["order"] is not None]
    assert [(p["name"], p["channel"], p["order"], p["status"]) for p in routed] == [
        ("twilio", "sms", 1, "active"),
        ("termii", "sms", 2, "off"),
        ("sendgrid", "email", 1, "off"),
        ("mailgun", "email", 2, "active"),
        ("fcm", "push", 1, "off"),
        ("apns", "push", 2, "off"),
        ("whatsapp_cloud", "whatsapp", 1, "active"),
    ]
    assert {p["name"] for p in shown["providers"]} == registry.KNOWN.keys()
    email = [p["order"] for p in shown["providers"] if p["channel"] == "email"]
    assert email[:3] == [1, 2, None], "a provider outside the route comes last"
    assert {p["name"]: p["circuit"] for p in shown["providers"]}["mailgun"] == "open"
    assert shown["routes"]["sms"] == ["twilio", "termii"]


async def test_draining_a_provider_notifies_the_workers(operator: httpx.AsyncClient, pool: Pool) -> None:
    payloads: asyncio.Queue[str] = asyncio.Queue()

    def listener(_c: object, _p: object, _n: object, payload: object) -> None:
        payloads.put_nowait(str(payload))

    async with pool.acquire() as connection:
        await connection.add_listener("herald_providers", listener)
        for status in ("drained", "active"):
            answer = await operator.patch("/providers/twilio", json={"status": status})
            assert (answer.status_code, answer.json()["status"]) == (200, status)
            assert await asyncio.wait_for(payloads.get(), 60) == "twilio"
        await connection.remove_listener("herald_providers", listener)


async def test_an_invalid_drain_is_refused(operator: httpx.AsyncClient) -> None:
    off = await operator.patch("/providers/termii", json={"status": "drained"})
    assert (off.status_code, off.json()["code"]) == (409, "provider_off")
    unknown = await operator.patch("/providers/pigeon", json={"status": "drained"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "provider_not_found")
    wrong = await operator.patch("/providers/twilio", json={"status": "off"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/status")
