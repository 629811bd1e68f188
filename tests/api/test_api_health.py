"""Liveness, readiness, metrics."""

import httpx
from api_case import Submit
from api_server import served, settings_for

from devstack.temporal import Temporal


async def test_alive(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_degraded_without_valkey_and_temporal(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "dependencies": {"postgres": "up", "valkey": "down", "temporal": "down"},
    }


async def test_ready_with_everything(database: str, valkey: str, temporal: Temporal) -> None:
    # Any URL scheme that the rate limiter accepts.
    store = valkey.replace("redis://", "valkey://")
    settings = settings_for(database, valkey_url=store, temporal={"address": temporal.address})
    async with (
        served(settings) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
    ):
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


async def test_metrics(url: str, submit: Submit) -> None:
    await submit()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'herald_accepted_total{lane="normal",type="price_alert"} 1.0' in answer.text
    assert 'herald_group_rows_count{group="accept"}' in answer.text
