"""An API that simulated vendors call, and a worker's sends, on which they report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
from api_case import body, loaded

from domain.contacts import suppression_key
from domain.ids import attempt_ref
from domain.masking import mask
from domain.notification import Channel, Notification, Target
from domain.outcome import Outcome, SendResult
from domain.status import Status
from domain.transition import Transition
from providers.base import Message, Provider
from simulators.control import Simulators
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.receipts import Receipts
from storage.records import AttemptOutcome, Intent, OpenAttempt


@dataclass(frozen=True)
class VendorHarness:
    """One installation with every vendor, and the tenant's client."""

    api: httpx.AsyncClient
    public_url: str
    pool: Pool
    ledger: Ledger
    receipts: Receipts
    providers: Mapping[str, Provider]
    simulators: Simulators

    async def accepted(self, channel: Channel, to: str, **changes: Any) -> Notification:
        """A notification over this channel, as a worker loads it."""
        submission = body(**{"type": "statement", "channels": [channel], "to": {channel: to}, **changes})
        answer = await self.api.post(
            "/notifications", json=submission, headers={"Idempotency-Key": uuid4().hex}
        )
        assert answer.status_code == 202, answer.text
        return await loaded(self.ledger, answer.json()["id"])

    async def intended(self, notification: Notification, provider: str) -> OpenAttempt | None:
        """The intent of a send through this provider; None if sending is not allowed."""
        [delivery], channel = notification.deliveries, self.providers[provider].capabilities.channel
        to = notification.recipient.address(channel) or ""
        return await self.ledger.intend(
            Intent(
                notification.id,
                delivery.id,
                delivery.version,
                provider,
                budget_s=10,
                visibility_delay_s=0,
                suppression_key=suppression_key(channel, to),
                target_masked=mask(channel, to),
                selection={"why": "a test"},
                required=True,
            )
        )

    async def may_send(self, provider: str, to: str) -> bool:
        """Whether a new notification of a required type to this address would be sent."""
        notification = await self.accepted(self.providers[provider].capabilities.channel, to)
        return await self.intended(notification, provider) is not None

    async def send(self, provider: str, to: str) -> tuple[Notification, SendResult]:
        """Send a notification through this vendor; record the attempt if it is accepted."""
        notification = await self.accepted(self.providers[provider].capabilities.channel, to)
        opened = await self.intended(notification, provider)
        assert opened is not None
        [delivery] = notification.deliveries
        ref = attempt_ref(delivery.id, opened.number)
        message = Message(
            ref,
            Target(to),
            replace(notification.content, title="Statement"),
            notification.type,
            notification.expires_at,
            opened.intended_at,
            callback_url=f"{self.public_url}/v1/callbacks/{provider}?ref={ref}",
        )
        result = await self.providers[provider].send(message, timeout_s=5)
        if result.outcome is Outcome.ACCEPTED:
            id = result.provider_message_id
            after = Transition(Status.SENT, None, event="sent")
            outcome = AttemptOutcome(
                notification.id,
                delivery.id,
                opened.number,
                opened.version,
                result.outcome,
                after,
                provider_message_id=id,
            )
            assert await self.ledger.close_attempt(outcome)
        return notification, result

    async def suppressed(self, channel: Channel, address: str) -> list[tuple[str, str]]:
        """The reason and source of each suppression of this address, as the API shows them."""
        answer = await self.api.get("/suppressions", params={"channel": channel, "address": address})
        assert answer.status_code == 200, answer.text
        return [(found["reason"], found["source"]) for found in answer.json()["suppressions"]]

    async def reported(self, notification: Notification) -> list[str | None]:
        """The codes of the notification's receipts, after applying those that are due."""
        await self.receipts.apply_due(100)
        rows = await self.pool.fetch(
            "SELECT code FROM receipts WHERE delivery_id = $1", notification.deliveries[0].id
        )
        return [row["code"] for row in rows]
