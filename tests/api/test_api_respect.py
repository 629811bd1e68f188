"""Bounces, complaints and STOP replies prevent the next send: from the vendor's signed callback, through
the API and the receipt processor, to the refused intent.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import httpx
import pytest
import pytest_asyncio
from api_server import served, settings_for
from phone_numbers import unused_number
from vendor_case import VendorHarness

from domain.notification import Channel
from domain.outcome import AddressVerdict, Outcome
from providers import registry
from settings import Settings
from simulators.base import SimulatorContext
from simulators.control import Simulators
from simulators.twilio import Twilio
from storage import api_keys
from storage.address_verdicts import apply_verdict
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.receipts import Receipts

SMS, MAIL, WHATSAPP = Channel.SMS, Channel.EMAIL, Channel.WHATSAPP
_numbers = itertools.count(1)


def mailbox(word: str) -> str:
    """An address for which the simulated vendors report the event that the word names."""
    return f"{word}+respect-{next(_numbers)}@customers.example"


@pytest_asyncio.fixture(scope="module")
async def harness(
    database: str, pool: Pool, ledger: Ledger, simulators: Simulators, callback_port: int
) -> AsyncIterator[VendorHarness]:
    variables = {"HERALD_SECRET_KEY": "tests-secret-8c1f6be2d40a97e35b12", **await simulators.settings()}
    with mock.patch.dict(os.environ, variables, clear=True):
        vendors = Settings().providers  # pyright: ignore[reportCallIssue] (the environment fills it)
    public_url = f"http://127.0.0.1:{callback_port}"
    settings = settings_for(database, providers=vendors, public_url=public_url)
    providers, receipts = registry.build(vendors, settings.catalog, public_url), Receipts(pool)
    key = {"Authorization": f"Bearer {await api_keys.create(pool, 'clinic', 'tests')}"}
    async with (
        served(settings, callback_port) as url,
        httpx.AsyncClient(base_url=f"{url}/v1", headers=key, trust_env=False, timeout=20) as api,
    ):
        yield VendorHarness(api, public_url, pool, ledger, receipts, providers, simulators)
    await receipts.close(5)
    for provider in providers.values():
        await provider.aclose()


async def eventually(harness: VendorHarness, holds: Callable[[], Awaitable[object]]) -> None:
    """Process receipts until the condition holds. Fails after 60 s."""
    async with asyncio.timeout(60):
        while not await holds():
            await harness.receipts.apply_due(100)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("vendor", "word", "reason"),
    [
        ("sendgrid", "bounce", "bounce:5.1.1"),
        ("sendgrid", "spamreport", "spamreport"),
        ("mailgun", "bounce", "failed:permanent:bounce"),
        ("mailgun", "complained", "complained"),
        ("resend", "bounced", "bounced:permanent:general"),
        ("resend", "complained", "complained"),
    ],
)
async def test_a_hard_bounce_or_a_complaint_suppresses_the_address(
    harness: VendorHarness, vendor: str, word: str, reason: str
) -> None:
    to = mailbox(word)
    _, result = await harness.send(vendor, to)
    assert result.outcome is Outcome.ACCEPTED
    await eventually(harness, lambda: harness.suppressed(MAIL, to))
    assert await harness.suppressed(MAIL, to) == [(reason, vendor)]
    assert not await harness.may_send(vendor, to)
    assert not await harness.may_send("smtp", to.upper())


@pytest.mark.parametrize(
    ("vendor", "word", "code"),
    [
        ("sendgrid", "blocked", "blocked:5.7.1"),
        ("sendgrid", "deferred", "deferred"),
        ("mailgun", "temporary", "failed:temporary:generic"),
        ("mailgun", "expired", "failed:permanent:old"),
        ("resend", "mailboxfull", "bounced:transient:mailboxfull"),
        ("resend", "delayed", "delivery_delayed"),
    ],
)
async def test_a_soft_bounce_does_not_suppress(
    harness: VendorHarness, vendor: str, word: str, code: str
) -> None:
    to = mailbox(word)
    notification, _ = await harness.send(vendor, to)

    async def is_reported() -> bool:
        return code in await harness.reported(notification)

    await eventually(harness, is_reported)
    assert await harness.suppressed(MAIL, to) == []
    assert await harness.may_send(vendor, to)


@pytest.mark.parametrize(
    ("vendor", "channel"),
    [("twilio", SMS), ("termii", SMS), ("africastalking", SMS), ("whatsapp_cloud", WHATSAPP)],
)
async def test_stop_holds_for_its_channel_and_start_lifts_it(
    harness: VendorHarness, vendor: str, channel: Channel
) -> None:
    to = unused_number()
    await harness.simulators.reply(vendor, to, "Stop")
    assert await harness.suppressed(channel, to) == [("stop", vendor)]
    assert not await harness.may_send(vendor, to)
    other = "whatsapp_cloud" if channel is SMS else "twilio"
    assert await harness.may_send(other, to)
    for _ in range(2):
        await harness.simulators.reply(vendor, to, "START")
        assert await harness.suppressed(channel, to) == []
    assert await harness.may_send(vendor, to)


async def test_start_lifts_only_the_suppression_by_stop(harness: VendorHarness) -> None:
    to = unused_number()
    own = {"channel": "sms", "address": to, "reason": "asked by letter"}
    assert (await harness.api.post("/suppressions", json=own)).status_code == 201
    await harness.simulators.reply("twilio", to, "STOP")
    assert sorted(await harness.suppressed(SMS, to)) == [("asked by letter", "api"), ("stop", "twilio")]
    await harness.simulators.reply("twilio", to, "START")
    assert await harness.suppressed(SMS, to) == [("asked by letter", "api")]
    assert not await harness.may_send("twilio", to)


async def test_the_api_cannot_lift_a_stop(harness: VendorHarness) -> None:
    to = unused_number()
    await harness.simulators.reply("twilio", to, "STOP")
    asked = {"channel": "sms", "address": to}
    answer = await harness.api.delete("/suppressions", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (409, "stopped_by_recipient")
    assert await harness.suppressed(SMS, to) == [("stop", "twilio")]


async def test_a_repeated_reply_changes_nothing(harness: VendorHarness, pool: Pool, tmp_path: Path) -> None:
    """Twilio's signature has no timestamp: a replayed START must not lift a later STOP."""
    to, simulator = unused_number(), Twilio(SimulatorContext(f"{harness.public_url}/v1/callbacks", tmp_path))
    stop, start, later = (simulator.incoming(to, word) for word in ("STOP", "START", "STOP"))
    async with httpx.AsyncClient(trust_env=False) as vendor:
        for request, stopped in zip((stop, stop, start, stop, later, start), (1, 1, 0, 0, 1, 1), strict=True):
            answer = await vendor.post(request.url, content=request.body, headers=dict(request.headers))
            assert (answer.status_code, answer.content) == (200, b"")
            assert len(await harness.suppressed(SMS, to)) == stopped
    words = await pool.fetch("SELECT word FROM replies WHERE address = $1 ORDER BY received_at", to)
    assert [row["word"] for row in words] == ["stop", "start", "stop"]


async def test_a_refused_send_after_a_lost_stop_suppresses_the_number(harness: VendorHarness) -> None:
    """The callback was lost or is not configured: Twilio refuses with 21610, and START lifts that."""
    to = unused_number()
    await harness.simulators.reply("twilio", to, "STOP")
    await harness.pool.execute("DELETE FROM suppressions WHERE address = $1", to)
    _, result = await harness.send("twilio", to)
    assert (result.outcome, result.code) == (Outcome.REJECTED_RECIPIENT, "21610")
    assert result.address_verdict is AddressVerdict.STOPPED
    await apply_verdict(
        harness.pool,
        result.address_verdict,
        tenant="clinic",
        user_id="ada",
        channel=SMS,
        address=to,
        code="21610",
        provider="twilio",
        intended_at=datetime.now(UTC),
    )
    assert await harness.suppressed(SMS, to) == [("stop", "twilio")]
    await harness.simulators.reply("twilio", to, "UNSTOP")
    assert await harness.suppressed(SMS, to) == []
    _, result = await harness.send("twilio", to)
    assert result.outcome is Outcome.ACCEPTED


async def test_a_reply_without_a_keyword_is_not_stored(harness: VendorHarness, pool: Pool) -> None:
    to = unused_number()
    for vendor in ("twilio", "termii", "africastalking", "whatsapp_cloud"):
        await harness.simulators.reply(vendor, to, "Who is this?")
    assert await pool.fetchval("SELECT count(*) FROM replies WHERE address = $1", to) == 0
    assert await harness.suppressed(SMS, to) == []


async def test_a_tenant_sees_no_numbers_of_others(harness: VendorHarness) -> None:
    to = unused_number()
    await harness.simulators.reply("twilio", to, "STOP")
    listed = (await harness.api.get("/suppressions", params={"channel": "sms", "limit": 200})).json()
    assert to not in [found["address"] for found in listed["suppressions"]]
