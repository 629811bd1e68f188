"""Short helpers for what happens to one notification in the ledger."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from deliveries import delivery_over

from domain.fingerprint import Fingerprint
from domain.ids import notification_id
from domain.notification import Channel, Delivery, Lane, Notification, Strategy
from domain.outcome import Outcome
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, OpenAttempt, Submission, Updated

NAMESPACE = UUID("6f0c1a52-7d0b-4c1e-9a52-0f6d8c7f1b11")
PHONE = "+2348031230000"
_users = itertools.count(1)


def submission(**changes: Any) -> Submission:
    """A submission for a new user, unless `user_id` is given."""
    user_id = changes.pop("user_id", f"user-{next(_users)}")
    tenant, type, key = (
        changes.pop(name, default)
        for name, default in (("tenant", "acme"), ("type", "debit_alert"), ("idempotency_key", "key-1"))
    )
    fields: dict[str, Any] = {
        "id": notification_id(NAMESPACE, tenant, user_id, type, key),
        "fingerprint": Fingerprint(b"digest", "k1"),
        "lane": Lane.NORMAL,
        "strategy": Strategy.ALL,
        "channels": (Channel.SMS,),
        "body": "You were debited",
        "to_sms": PHONE,
        "to_email": "ada@example.com",
    }
    return Submission(tenant=tenant, user_id=user_id, type=type, idempotency_key=key, **(fields | changes))


@dataclass(frozen=True)
class Case:
    """One notification and the operations on it. The default channel is SMS."""

    ledger: Ledger
    id: UUID
    user_id: str

    async def load(self) -> Notification:
        loaded = await self.ledger.load(self.id)
        assert loaded is not None
        return loaded

    async def delivery(self, channel: Channel = Channel.SMS) -> Delivery:
        return delivery_over((await self.load()), channel)

    async def due(self) -> Mapping[str, Any] | None:
        """Its row in the queue, with the database's time as `now`."""
        return await self.ledger.pool.fetchrow("SELECT *, now() AS now FROM due WHERE id = $1", self.id)

    async def intent(self, channel: Channel = Channel.SMS, **changes: Any) -> Intent:
        """An intent for the current delivery."""
        delivery = await self.delivery(channel)
        fields: dict[str, Any] = {
            "version": delivery.version,
            "provider": "twilio",
            "budget_s": 10.0,
            "visibility_delay_s": 30.0,
            "suppression_key": PHONE,
            "target_masked": "+234•••••0000",
            "selection": {"why": "first in the fallback order"},
            "required": False,
        }
        return Intent(notification_id=self.id, delivery_id=delivery.id, **(fields | changes))

    async def intend(self, channel: Channel = Channel.SMS, **changes: Any) -> OpenAttempt | None:
        return await self.ledger.intend(await self.intent(channel, **changes))

    async def open(self, channel: Channel = Channel.SMS, **changes: Any) -> OpenAttempt:
        """An intent that must succeed."""
        opened = await self.intend(channel, **changes)
        assert opened is not None
        return opened

    async def outcome(
        self,
        opened: OpenAttempt,
        outcome: Outcome | None,
        after: Transition,
        channel: Channel = Channel.SMS,
        **fields: Any,
    ) -> AttemptOutcome:
        """An attempt's outcome, for the version of the delivery that its sender saw."""
        delivery = await self.delivery(channel)
        known: dict[str, Any] = {"number": opened.number, "version": opened.version}
        return AttemptOutcome(
            notification_id=self.id,
            delivery_id=delivery.id,
            outcome=outcome,
            transition=after,
            **(known | fields),
        )

    async def close(
        self,
        opened: OpenAttempt,
        outcome: Outcome | None,
        after: Transition,
        channel: Channel = Channel.SMS,
        **fields: Any,
    ) -> Updated | None:
        return await self.ledger.close_attempt(await self.outcome(opened, outcome, after, channel, **fields))

    async def change(
        self, after: Transition, channel: Channel = Channel.SMS, version: int | None = None
    ) -> DeliveryUpdate:
        delivery = await self.delivery(channel)
        return DeliveryUpdate(self.id, delivery.id, delivery.version if version is None else version, after)

    async def update(
        self, after: Transition, channel: Channel = Channel.SMS, version: int | None = None
    ) -> Updated | None:
        return await self.ledger.update(await self.change(after, channel, version))

    async def sent(
        self, channel: Channel = Channel.SMS, due_at: datetime | None = None, **fields: Any
    ) -> OpenAttempt:
        """One attempt that a provider accepted."""
        opened = await self.open(channel)
        fields.setdefault("provider_message_id", f"m-{uuid4()}")
        assert await self.close(opened, Outcome.ACCEPTED, Transition(Status.SENT, due_at), channel, **fields)
        return opened

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Run a test's statement; $1 is the notification's id."""
        return await self.ledger.pool.execute(statement, self.id, *arguments)

    async def row(self, statement: str, *arguments: Any) -> asyncpg.Record:
        """The row of a test's query; $1 is the notification's id."""
        found = await self.ledger.pool.fetchrow(statement, self.id, *arguments)
        assert found is not None
        return found

    async def shown(self) -> asyncpg.Record:
        """Its row in `notifications`."""
        return await self.row("SELECT * FROM notifications WHERE id = $1")

    async def attempts(self) -> list[asyncpg.Record]:
        return await self.ledger.pool.fetch(
            "SELECT * FROM notification_attempts WHERE notification_id = $1 ORDER BY delivery_id, number",
            self.id,
        )

    async def timeline(self) -> list[str]:
        rows = await self.ledger.pool.fetch(
            "SELECT kind FROM timeline WHERE notification_id = $1 ORDER BY seq", self.id
        )
        return [row["kind"] for row in rows]


@dataclass(frozen=True)
class Cases:
    """Accepts notifications, each for a new user."""

    ledger: Ledger

    async def __call__(self, **changes: Any) -> Case:
        row = submission(**changes)
        accepted = await self.ledger.accept(row)
        assert accepted.created
        return Case(self.ledger, accepted.id, row.user_id)


class _SinglePool:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def acquire(self, **_: Any) -> Any:
        return self._connection

    async def release(self, connection: Any) -> None:
        pass


def pool_of(connection: Any) -> Pool:
    """A pool of this one connection: a ledger's writes over it belong to the test's transaction."""
    pool: Any = _SinglePool(connection)
    return pool


def at(case_or_time: Notification | datetime, seconds: float) -> datetime:
    """`seconds` after a time, or after the time at which a notification was loaded."""
    time = case_or_time.now if isinstance(case_or_time, Notification) else case_or_time
    return time + timedelta(seconds=seconds)
