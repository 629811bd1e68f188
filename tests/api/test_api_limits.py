"""`GET /v1/limits`: what is configured, and what is counted now."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from api_case import PHONE
from api_server import served, settings_for

from api.access import TENANT_HEADER
from delivery.limits import Limits
from domain.access import Scope
from domain.notification import Channel, Content, Delivery, Lane, Notification, Recipient, Strategy
from domain.status import Status
from ratelimit.limiter import Limiter
from settings import Settings
from storage import api_keys
from storage.postgres import Pool
from telemetry.metrics import Metrics

CONFIG = """
limits = [
    { by = ["tenant", "address"], lanes = ["critical"], max = 3, per_s = 3600 },
    { by = "prefix", max = 100, per_s = 3600, then = "defer" },
    { by = ["tenant", "country"], max = 5, max_of = { "bank/NG" = 50 }, per_s = 86400 },
    { by = "tenant", channel = "email", max = 9, per_s = 60 },
]
[types.otp]
lane = "critical"
limits = [{ channel = "sms", max = 5, per_s = 3600 }]
[types.price_alert]
limits = [{ channel = "sms", max = 4, per_s = 60, group = "alerts" }]
[types.stock_alert]
limits = [{ channel = "sms", max = 4, per_s = 60, group = "alerts" }]
[providers.twilio.prices]
currency = "USD"
per_segment = 0.05
[sms]
countries = ["NG", "GH"]
spend = [
    { by = "country", max = 10, max_of = { NG = 200 }, currency = "USD" },
    { max = 1000, currency = "USD", then = "defer" },
    { by = "tenant", max = 300, currency = "USD" },
]
"""


@pytest.fixture
def settings(database: str, valkey: str, tmp_path: Path) -> Settings:
    config = tmp_path / "herald.toml"
    config.write_text(CONFIG, encoding="utf-8")
    return settings_for(database, valkey_url=valkey, config=config)


@pytest_asyncio.fixture
async def client(settings: Settings, pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of the installation that names the tenant `bank`: it sees every limit."""
    async with served(settings) as url, await client_of(url, pool, None) as client:
        yield client


async def client_of(url: str, pool: Pool, tenant: str | None, **options: Any) -> httpx.AsyncClient:
    """A client that acts for `bank`, with a key of the tenant or, without one, of the installation."""
    key = await api_keys.create(pool, tenant, "limits", **options)
    headers = {"Authorization": f"Bearer {key}"} | ({} if tenant else {TENANT_HEADER: "bank"})
    return httpx.AsyncClient(base_url=f"{url}/v1", headers=headers, trust_env=False, timeout=20)


def otp(recipient: Recipient) -> tuple[Notification, Delivery]:
    """An OTP that was loaded by a worker."""
    now = datetime.now(UTC)
    until = now + timedelta(hours=1)
    delivery = Delivery(uuid4(), Channel.SMS, 0, Status.ACCEPTED, None, 0, 0, now, until, now)
    return (
        Notification(
            *(uuid4(), "bank", "ada", "otp", Lane.CRITICAL, Strategy.ALL, Status.ACCEPTED, now, until),
            *(Content("code"), recipient, (delivery,), now),
        ),
        delivery,
    )


async def test_what_workers_count_is_shown(
    client: httpx.AsyncClient, settings: Settings, valkey: str
) -> None:
    limiter = Limiter.connect(valkey, timeout_s=10)
    await limiter.establish()
    limits = Limits(limiter, settings.catalog, Metrics(), settings.secret_key.get_secret_value())
    for _ in range(4):
        notification, delivery = otp(Recipient(sms=PHONE))
        await limits.reserve(notification, delivery, "twilio")
    await limiter.aclose()
    asked = {"address": "+234 803 123 6789", "user_id": "ada"}
    shown = (await client.get("/limits", params=asked)).json()
    rows = [
        (row["by"], row["of"], row["max"], row["taken"], row["free_at"] is None) for row in shown["limits"]
    ]
    assert rows == [
        (["user"], "ada", 5, 3, True),
        (["user"], "ada", 4, 0, True),
        (["tenant", "address"], "bank/+234•••••6789", 3, 3, False),
        (["prefix"], "+234•••••6789", 100, 3, True),
        (["tenant", "country"], "bank/NG", 50, 3, True),
    ]
    assert [row["types"] for row in shown["limits"]] == [["otp"], ["price_alert", "stock_alert"], [], [], []]
    assert [row["lanes"] for row in shown["limits"]] == [[], [], ["critical"], [], []]
    assert shown["spend"] == [
        {"by": ["country"], "of": "NG", "max": "200", "currency": "USD", "then": "drop", "spent": "0.15"},
        {"by": [], "of": "", "max": "1000", "currency": "USD", "then": "defer", "spent": "0.15"},
        {"by": ["tenant"], "of": "bank", "max": "300", "currency": "USD", "then": "drop", "spent": "0.15"},
    ]


async def test_without_a_number_every_open_country_is_shown(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/limits")).json()
    assert [(row["of"], row["max"]) for row in shown["limits"]] == [("bank/NG", 50), ("bank/GH", 5)]
    assert [row["of"] for row in shown["spend"]] == ["NG", "GH", "", "bank"]
    one = (await client.get("/limits", params={"country": "gh"})).json()
    assert [row["of"] for row in one["limits"]] == ["bank/GH"]
    mail = (await client.get("/limits", params={"channel": "email"})).json()
    assert ([row["by"] for row in mail["limits"]], mail["spend"]) == ([["tenant"]], [])


@pytest.mark.parametrize(
    ("tenant", "test", "limits", "spend"),
    [
        (
            None,
            False,
            ["user", "user", "tenant,address", "prefix", "tenant,country"],
            ["country", "", "tenant"],
        ),
        ("bank", False, ["user", "user", "tenant,address", "tenant,country"], ["tenant"]),
        # What test keys send reaches nobody and costs nothing: only the limits of their users apply.
        ("bank", True, ["user", "user"], []),
    ],
    ids=["installation", "tenant", "test key"],
)
async def test_what_counts_every_tenant_together_is_shown_to_the_installation_only(
    settings: Settings, pool: Pool, tenant: str | None, test: bool, limits: list[str], spend: list[str]
) -> None:
    asked = {"address": PHONE, "user_id": "ada"}
    async with served(settings) as url, await client_of(url, pool, tenant, test=test) as client:
        shown = (await client.get("/limits", params=asked)).json()
    assert [",".join(row["by"]) for row in shown["limits"]] == limits
    assert [",".join(row["by"]) for row in shown["spend"]] == spend


@pytest.mark.parametrize("whose", [None, "bank"])
async def test_it_needs_the_scope_read(url: str, pool: Pool, whose: str | None) -> None:
    for scope in Scope:
        async with await client_of(url, pool, whose, scopes={scope}) as client:
            answer = await client.get("/limits", params={"address": PHONE})
            # This API has no store of limits.
            assert answer.status_code == (503 if scope is Scope.READ else 403), scope


@pytest.mark.parametrize(
    ("asked", "pointer", "code"),
    [
        ({"address": "0803"}, "/query/address", "invalid_contact"),
        ({"channel": "push", "address": "token"}, "/query/address", "invalid"),
        ({"country": "Nigeria"}, "/query/country", "invalid"),
        ({"channel": "fax"}, "/query/channel", "not_one_of"),
    ],
)
async def test_what_cannot_be_looked_up_is_refused(
    client: httpx.AsyncClient, asked: dict[str, str], pointer: str, code: str
) -> None:
    answer = await client.get("/limits", params=asked)
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]


async def test_without_the_store_it_says_so(api: httpx.AsyncClient) -> None:
    answer = await api.get("/limits", params={"address": PHONE})
    assert (answer.status_code, answer.json()["code"]) == (503, "limit_store_unavailable")
    assert answer.headers["retry-after"] == "1"
