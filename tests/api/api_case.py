"""Notifications that the API's tests submit, and helpers for states that only workers produce."""

import asyncio
import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from deliveries import delivery_over

from domain.notification import Channel, Notification
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.records import AttemptOutcome, DeliveryUpdate, Intent

ACCOUNT_SID = "AC" + "0" * 32
AUTH_TOKEN = "a token of the tests"
SIGNING_KEY = "a signing key of the tests"
VERIFY_TOKEN = "a verify token of the tests"

PHONE = "+2348031236789"

_users = itertools.count(1)


def body(**changes: Any) -> dict[str, Any]:
    """A valid notification of a new user."""
    valid: dict[str, Any] = {
        "user_id": f"user-{next(_users)}",
        "type": "price_alert",
        "channels": ["sms"],
        "content": {"body": "Bitcoin is at 100,000."},
        "to": {"sms": PHONE},
    }
    return {name: value for name, value in (valid | changes).items() if value is not None}


@dataclass(frozen=True)
class Submit:
    """Submits over HTTP and expects 202."""

    api: httpx.AsyncClient

    async def __call__(self, **changes: Any) -> dict[str, Any]:
        key = {"Idempotency-Key": str(uuid4())}
        answer = await self.api.post("/notifications", json=body(**changes), headers=key)
        assert answer.status_code == 202, answer.text
        return answer.json()


@dataclass(frozen=True)
class Parked:
    """Parks a notification's deliveries as a worker does when the retry schedule is exhausted."""

    submit: Submit
    ledger: Ledger

    async def __call__(
        self, status: Status = Status.DEAD_LETTERED, *, expires_at: datetime | None = None, **changes: Any
    ) -> str:
        id = (await self.submit(**changes))["id"]
        notification = await loaded(self.ledger, id)
        for delivery in notification.deliveries:
            if delivery.status is Status.WAITING:
                continue
            transition = Transition(
                status,
                notification.now + timedelta(days=14),
                Reason.PROVIDERS_EXHAUSTED,
                pass_number=4,
                expires_at=expires_at,
                event="dead_lettered",
            )
            assert await self.ledger.update(
                DeliveryUpdate(notification.id, delivery.id, delivery.version, transition)
            )
        return id


async def loaded(ledger: Ledger, id: str) -> Notification:
    """The notification as stored in the ledger."""
    notification = await ledger.load(UUID(id))
    assert notification is not None
    return notification


async def attempted(
    ledger: Ledger, id: str, channel: Channel = Channel.SMS, provider: str = "twilio"
) -> tuple[Notification, int]:
    """The notification with an open attempt, as it is just before a provider call."""
    notification = await loaded(ledger, id)
    delivery = delivery_over(notification, channel)
    opened = await ledger.intend(
        Intent(
            notification.id,
            delivery.id,
            delivery.version,
            provider,
            budget_s=10,
            visibility_delay_s=0,
            suppression_key=PHONE,
            target_masked="+234•••••6789",
            selection={"reason": "first in order"},
            required=False,
        )
    )
    assert opened is not None
    return await loaded(ledger, id), opened.number


async def sent(
    ledger: Ledger, id: str, message_id: str, channel: Channel = Channel.SMS, provider: str = "twilio"
) -> None:
    """Record the notification as accepted by a provider of the channel."""
    notification, number = await attempted(ledger, id, channel, provider)
    delivery = delivery_over(notification, channel)
    closed = await ledger.close_attempt(
        AttemptOutcome(
            notification.id,
            delivery.id,
            number,
            delivery.version,
            Outcome.ACCEPTED,
            Transition(Status.SENT, None, event="sent"),
            provider_message_id=message_id,
            latency_ms=12,
        )
    )
    assert closed is not None


async def together(*calls: Any) -> list[Any]:
    """The results of concurrent calls."""
    return list(await asyncio.gather(*calls))
