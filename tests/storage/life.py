"""A small life of two notifications and a broadcast, by storage's code: the statements that a release's
processes send.

It has stages, so that the lives of two releases can alternate in one database.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from broadcast_life import BroadcastLife

from domain.fingerprint import Fingerprint
from domain.ids import attempt_ref, notification_id
from domain.notification import Channel, Lane, Notification, QuietHours, Strategy
from domain.notification_types import RetentionPolicy
from domain.outcome import Outcome, Receipt, ReceiptStatus
from domain.replies import Reply, Word
from domain.status import Status
from domain.transition import Transition
from storage import maintenance
from storage.batch_queue import BatchQueue, HandOver
from storage.ledger import Ledger
from storage.queries import Filter, Queries
from storage.receipts import Receipts
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, Renewal, Submission
from storage.retention import Removed, retain
from storage.users import Contacts, Preferences, Users

TENANT = "acme"
NAMESPACE = UUID("6f0c1a52-7d0b-4c1e-9a52-0f6d8c7f1b11")
PHONE = "+2348031230000"


class Life:
    """A user's two notifications in one lane: `sent` is delivered by attempt 2, `ended` is cancelled.
    Beside them, a broadcast and the maintenance of the ledger.

    `user` and `lane` are used by nothing else in the database, so that claims find only these two.
    """

    def __init__(self, pool: Any, user: str, lane: Lane) -> None:
        self.user, self.lane = user, lane
        self.sent, self.ended = (notification_id(NAMESPACE, TENANT, user, "otp", key) for key in ("1", "2"))
        self._ledger, self._queue = Ledger(pool), BatchQueue(pool)
        self._receipts, self._queries, self._users = Receipts(pool), Queries(pool), Users(pool)
        self._broadcast = BroadcastLife(pool, TENANT, user, lane, NAMESPACE)
        self._pool, self._reference = pool, ""

    @property
    def ids(self) -> tuple[UUID, ...]:
        """All ids that are derived from the user."""
        return (self.sent, self.ended, self._broadcast.id, *self._broadcast.notifications)

    @property
    def stages(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """The stages, in order."""
        return {
            "accept": self.accept,
            "broadcast": self._broadcast.create,
            "batch": self.batch,
            "claim": self.claim,
            "first attempt": self.first_attempt,
            "second attempt": self.second_attempt,
            "poll": self.poll,
            "receipt": self.receipt,
            "updates": self.updates,
            "reply": self.reply,
            "unsubscribe": self.unsubscribe,
            **self._broadcast.stages,
            "maintenance": self.maintenance,
            "views": self.views,
        }

    async def accept(self) -> None:
        await self._users.set_contacts(TENANT, self.user, Contacts(PHONE, "ada@example.com"))
        settings = {("otp", Channel.SMS): True, ("*", Channel.EMAIL): False}
        await self._users.set_preferences(
            TENANT, self.user, Preferences(settings, "UTC", QuietHours("22:00", "07:00"))
        )
        both = [
            self._submission(self.sent, "1", Strategy.ALL),
            self._submission(self.ended, "2", Strategy.FIRST),
        ]
        assert [one.created for one in await self._ledger.accept_all(both)] == [True, True]
        again = await self._ledger.accept(both[0])
        assert (again.created, again.id) == (False, self.sent)

    async def batch(self) -> None:
        claims = await self._queue.claim(self.lane, 5, 60, self.sent)
        assert [claim.id for claim in claims] == [self.sent]
        await self._queue.hand_over(HandOver(claims[0], dedicated_workflow=True))

    async def claim(self) -> None:
        claims = await self._ledger.claim(self.lane, 5, 60)
        assert {claim.id for claim in claims} == {self.sent, self.ended}

    async def first_attempt(self) -> None:
        notification, opened = await self._intend()
        renewed = await self._ledger.renew(
            Renewal(
                *(
                    self.sent,
                    notification.deliveries[0].id,
                    opened.number,
                    opened.version,
                    10,
                    30,
                    3600,
                    PHONE,
                ),
                required=False,
            )
        )
        assert renewed is not None
        again = Transition(
            Status.DEFERRED, notification.now, "retry", 1, next_pass_at=notification.now, event="deferred"
        )
        await self._close(notification, renewed, Outcome.UNAVAILABLE, again)

    async def second_attempt(self) -> None:
        notification, opened = await self._intend()
        delivery = notification.deliveries[0]
        assert await self._ledger.indistinguishable_attempts(f"match {self.sent}", delivery.id) == 0
        waits = Transition(Status.SENT, notification.now + timedelta(hours=1))
        await self._close(notification, opened, Outcome.ACCEPTED, waits, f"SM {self.sent}")
        assert await self._ledger.claimed_messages("twilio", [f"SM {self.sent}"])
        self._reference = attempt_ref(delivery.id, opened.number)

    async def poll(self) -> None:
        delivery = (await self._load(self.sent)).deliveries[0]
        report = Receipt(f"poll {self.sent}", ReceiptStatus.SENT, provider_message_id=f"SM {self.sent}")
        applied = await self._receipts.apply_one(delivery.id, delivery.attempts[-1].number, report, "poll")
        assert applied.taken == 1

    async def receipt(self) -> None:
        reports = [
            Receipt(f"one {self.sent}", ReceiptStatus.SENT, attempt_ref=self._reference),
            Receipt(f"two {self.sent}", ReceiptStatus.DELIVERED, provider_message_id=f"SM {self.sent}"),
        ]
        assert await self._receipts.store("twilio", reports) == 2
        applied = await self._receipts.apply_due(5)
        assert [one.status for one in applied.changed] == [Status.DELIVERED]

    async def updates(self) -> None:
        sms, email = (await self._load(self.ended)).deliveries
        assert email.status is Status.WAITING
        failed = Transition(Status.FAILED, None, "no_contact", release=True, event="failed")
        assert await self._ledger.update(DeliveryUpdate(self.ended, sms.id, sms.version, failed))
        [email] = [d for d in (await self._load(self.ended)).deliveries if d.channel is Channel.EMAIL]
        assert email.status is Status.ACCEPTED
        over = Transition(Status.CANCELLED, None, "cancelled_by_client", release=True)
        assert await self._ledger.update(DeliveryUpdate(self.ended, email.id, email.version, over))

    async def reply(self) -> None:
        phone = f"the phone of {self.user}"
        for word, new, suppressed in (
            (Word.STOP, True, True),
            (Word.STOP, False, True),
            (Word.START, True, False),
        ):
            reply = Reply(Channel.SMS, phone, word, event_key=f"{word} {self.sent}")
            assert await self._users.record_reply("twilio", reply) is new
            assert await self._users.is_suppressed_globally(Channel.SMS, phone) is suppressed

    async def unsubscribe(self) -> None:
        delivery = (await self._load(self.sent)).deliveries[0]
        for wanted, read in (
            (True, self._users.subscription),
            (False, self._users.unsubscribe),
            (False, self._users.unsubscribe),
            (False, self._users.subscription),
        ):
            found = await read(delivery.id)
            assert found is not None
            assert (found.type, found.channel, found.wanted) == ("otp", Channel.SMS, wanted)

    async def maintenance(self) -> None:
        """Nothing is lost, contradictory or old: each statement finds that."""
        assert await maintenance.requeue_live_without_due(self._pool, 5) == 0
        assert await maintenance.revive_orphans(self._pool, 5) == 0
        assert await maintenance.drift(self._pool) == maintenance.Drift(0, 0, 0, 0, 0, 0)
        assert await maintenance.age_dead_letters(self._pool) == []
        assert await maintenance.drop_orphans(self._pool, 3600) == 0
        await maintenance.ensure_partitions(self._pool, 3)
        assert await retain(self._pool, RetentionPolicy(), within_s=20) == Removed()

    async def views(self) -> None:
        timeline = await self._queries.timeline(TENANT, self.sent)
        assert timeline is not None
        assert (timeline.notification["status"], len(timeline.attempts), len(timeline.receipts)) == (
            "delivered",
            2,
            3,
        )
        ended = await self._queries.notification(TENANT, self.ended)
        assert ended is not None
        assert ended["status"] == "failed"
        for matching, count in (
            (Filter(user_id=self.user), 2),
            (Filter(user_id=self.user, provider="twilio", channel=Channel.SMS), 1),
        ):
            assert len((await self._queries.list_page(TENANT, matching, 5)).positions) == count
        assert await self._users.preferences(TENANT, self.user) is not None

    def _submission(self, id: UUID, key: str, strategy: Strategy) -> Submission:
        channels = (Channel.SMS,) if strategy is Strategy.ALL else (Channel.SMS, Channel.EMAIL)
        return Submission(
            *(id, TENANT, self.user, "otp", key, Fingerprint(b"digest", "k1"), self.lane, strategy, channels),
            body="Your code is 123456",
        )

    async def _load(self, id: UUID) -> Notification:
        notification = await self._ledger.load(id)
        assert notification is not None
        return notification

    async def _intend(self) -> tuple[Notification, Any]:
        notification = await self._load(self.sent)
        delivery = notification.deliveries[0]
        opened = await self._ledger.intend(
            Intent(
                *(self.sent, delivery.id, delivery.version, "twilio", 10, 30, PHONE, "+•", {"why": "first"}),
                required=False,
                match_key=f"match {self.sent}",
            )
        )
        assert opened is not None
        return notification, opened

    async def _close(
        self,
        notification: Notification,
        opened: Any,
        outcome: Outcome,
        transition: Transition,
        message: str | None = None,
    ) -> None:
        outcome = AttemptOutcome(
            *(self.sent, notification.deliveries[0].id, opened.number, opened.version, outcome, transition),
            provider_message_id=message,
        )
        assert await self._ledger.close_attempt(outcome) is not None
