"""Limits over users with a whole worker: real workflows, a real store, and a simulated vendor."""

import asyncio

import pytest
from phone_numbers import unused_number
from worker_harness import WorkerHarness, until

from domain.limit_policy import DEFAULT_LIMITS
from domain.notification import Lane
from domain.reasons import Reason
from domain.status import FINAL, REACHED, Status
from simulators.control import Simulators
from wiring.parts import Parts

OTPS = 25


@pytest.mark.usefixtures("working")
async def test_25_otps_to_one_number_under_25_users_at_once_end_at_the_numbers_limit(
    harness: WorkerHarness, simulators: Simulators, parts: Parts
) -> None:
    number = unused_number()
    allowed = parts.settings.catalog.limits[0].max
    assert (parts.settings.catalog.limits, allowed) == (DEFAULT_LIMITS, 10)
    ids = await asyncio.gather(*(harness.accept("otp", Lane.CRITICAL, to_sms=number) for _ in range(OTPS)))
    loaded = [await harness.load(id) for id in ids]
    assert len({notification.user_id for notification in loaded}) == OTPS

    async def settled() -> bool:
        statuses = [(await harness.load(id)).status for id in ids]
        return all(status in FINAL for status in statuses)

    await until(settled)
    ended = [(await harness.load(id)).deliveries[0] for id in ids]
    sent = [delivery for delivery in ended if delivery.status in REACHED]
    limited = [delivery for delivery in ended if delivery.status is Status.RATE_LIMITED]
    assert (len(sent), len(limited)) == (allowed, OTPS - allowed)
    assert {delivery.reason_code for delivery in limited} == {Reason.VELOCITY_LIMITED}
    received = [await simulators.messages(provider, to=number) for provider in ("twilio", "termii")]
    assert sum(map(len, received)) == allowed
