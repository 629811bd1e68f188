"""A ledger with notifications and attempts for receipts, written as senders write them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from deliveries import delivery_over

from domain.fingerprint import Fingerprint
from domain.ids import attempt_ref
from domain.masking import mask
from domain.notification import Channel, Lane, Notification, Strategy
from domain.outcome import Outcome, Receipt, ReceiptStatus
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.receipts import Receipts
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, Submission

PHONE, EMAIL = "+2348031236789", "ada@example.com"
DEADLINE_S = 3600.0
_numbers = itertools.count(1)


def deadline(type: str) -> float | None:
    """`debit_alert` waits an hour for its receipt; other types expect none."""
    return DEADLINE_S if type == "debit_alert" else None


@dataclass(frozen=True)
class LedgerHarness:
    """A ledger with its inbox of receipts, and the writes that tests need."""

    pool: Pool
    ledger: Ledger
    receipts: Receipts

    async def accept(
        self,
        *channels: Channel,
        type: str = "debit_alert",
        strategy: Strategy = Strategy.ALL,
        scrub: bool = False,
        to_sms: str | None = None,
    ) -> UUID:
        """A new notification; returns its id."""
        id = uuid4()
        await self.ledger.accept(
            Submission(
                id=id,
                tenant="t1",
                user_id=f"u-{id}",
                type=type,
                idempotency_key="k",
                fingerprint=Fingerprint(b"f", "k1", 1),
                lane=Lane.NORMAL,
                strategy=strategy,
                channels=channels or (Channel.SMS,),
                body="hello",
                to_sms=to_sms or PHONE,
                to_email=EMAIL,
                scrub=scrub,
            )
        )
        return id

    async def load(self, id: UUID) -> Notification:
        notification = await self.ledger.load(id)
        assert notification is not None
        return notification

    async def attempt(
        self,
        id: UUID,
        outcome: Outcome | None = Outcome.ACCEPTED,
        *,
        channel: Channel = Channel.SMS,
        provider: str = "twilio",
        message_id: str | None = None,
        status: Status = Status.SENT,
        awaits: bool = True,
        device_id: str | None = None,
        address: str = PHONE,
    ) -> str:
        """One attempt of the delivery, closed with `outcome` unless that is None; returns its reference."""
        notification = await self.load(id)
        delivery = delivery_over(notification, channel)
        if delivery.status not in {Status.ACCEPTED, Status.DEFERRED}:
            again = Transition(Status.DEFERRED, notification.now, next_pass_at=notification.now)
            await self.ledger.update(DeliveryUpdate(id, delivery.id, delivery.version, again))
            delivery = delivery_over((await self.load(id)), channel)
        opened = await self.ledger.intend(
            Intent(
                notification_id=id,
                delivery_id=delivery.id,
                version=delivery.version,
                provider=provider,
                budget_s=10,
                visibility_delay_s=0,
                suppression_key=address,
                target_masked=mask(channel, address),
                selection={},
                required=False,
                device_id=device_id,
            )
        )
        assert opened is not None
        if outcome is not None:
            due = notification.now + timedelta(seconds=DEADLINE_S) if awaits else None
            updated = await self.ledger.close_attempt(
                AttemptOutcome(
                    notification_id=id,
                    delivery_id=delivery.id,
                    number=opened.number,
                    version=opened.version,
                    outcome=outcome,
                    transition=Transition(status, due, next_pass_at=notification.now),
                    provider_message_id=message_id,
                )
            )
            assert updated is not None
        return attempt_ref(delivery.id, opened.number)

    async def sent(self, **arguments: Any) -> tuple[UUID, str]:
        """A notification that one provider accepted; its id and its attempt's reference."""
        id = await self.accept(**{k: arguments.pop(k) for k in ("type", "scrub") if k in arguments})
        return id, await self.attempt(id, **arguments)

    async def report_receipts(self, *receipts: Receipt, provider: str = "twilio") -> int:
        """Store receipts in the inbox; returns how many were new."""
        return await self.receipts.store(provider, receipts)

    async def attempt_rows(self, id: UUID) -> Sequence[Mapping[str, Any]]:
        return await self.pool.fetch(
            "SELECT * FROM notification_attempts WHERE notification_id = $1 ORDER BY delivery_id, number", id
        )

    async def events(self, id: UUID) -> list[str]:
        rows = await self.pool.fetch("SELECT kind FROM timeline WHERE notification_id = $1 ORDER BY seq", id)
        return [row["kind"] for row in rows]

    async def due(self, id: UUID) -> bool | None:
        """Whether the notification is due now; None if it is not in the queue."""
        return await self.pool.fetchval("SELECT due_at <= now() FROM due WHERE id = $1", id)

    async def orphans(self) -> list[str]:
        """The event keys of the orphan receipts."""
        rows = await self.pool.fetch("SELECT event_key FROM receipt_inbox WHERE orphaned_at IS NOT NULL")
        return [row["event_key"] for row in rows]

    async def inbox(self) -> int:
        return await self.pool.fetchval("SELECT count(*) FROM receipt_inbox")


def receipt(ref: str | None, status: str, **arguments: Any) -> Receipt:
    """A receipt with its own event key."""
    key = arguments.pop("event_key", None) or f"e{next(_numbers)}"
    return Receipt(event_key=key, status=ReceiptStatus(status), attempt_ref=ref, **arguments)
