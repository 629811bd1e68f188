"""The life of a small broadcast, by storage's code: uploaded, accepted in one chunk, followed, cancelled."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from domain.broadcasts import (
    Audience,
    Broadcast,
    BroadcastRecipient,
    BroadcastStatus,
    Command,
    Refusal,
    Window,
)
from domain.fingerprint import Fingerprint
from domain.ids import notification_id
from domain.notification import Channel, Lane, Strategy
from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.broadcast_chunks import BroadcastChunks, Line
from storage.broadcasts import apply_command, create, end_upload
from storage.ledger import Ledger
from storage.records import DeliveryUpdate, NewBroadcast, Submission

TYPE = "news"


class BroadcastLife:
    """A broadcast to two users of no other life; their notifications wait in `lane` until they are cancelled.

    Of all broadcasts in the database that are due, it must be the earliest: a worker claims one.
    """

    def __init__(self, pool: Any, tenant: str, user: str, lane: Lane, namespace: UUID) -> None:
        self._tenant, self._lane = tenant, lane
        self._users = [f"{user}, recipient {number}" for number in (1, 2)]
        self.id = notification_id(namespace, tenant, user, TYPE, "broadcast")
        self.notifications = [notification_id(namespace, tenant, user, TYPE, "1") for user in self._users]
        self._pool, self._broadcasts, self._ledger = pool, BroadcastChunks(pool), Ledger(pool)

    @property
    def stages(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """The stages after its creation, in order."""
        return {
            "broadcast chunk": self.accept,
            "broadcast progress": self.follow,
            "broadcast cancelled": self.cancel,
        }

    async def create(self) -> None:
        for new in (True, False):
            async with self._pool.acquire() as connection, connection.transaction():
                created, id, _ = await create(connection, self._new())
            assert (created, id) == (new, self.id)
        upload = await self._broadcasts.begin_upload(self._tenant, self.id)
        assert upload == 1
        recipients = [
            BroadcastRecipient(number, user, {"sms": "+2348031230000"}, {"name": user})
            for number, user in enumerate(self._users, 1)
        ]
        await self._broadcasts.put(
            self.id, upload, recipients, [Refusal(3, "invalid", "no user", "/user_id")]
        )
        assert await end_upload(self._pool, self.id, upload, 3, 1, b"digest")

    async def accept(self) -> None:
        assert [due.id for due in await self._broadcasts.claim(1, 60)] == [self.id]
        for command in (Command.PAUSE, Command.RESUME):
            assert await apply_command(self._pool, self._tenant, self.id, command)
        broadcast = await self._read()
        recipients = await self._broadcasts.next(broadcast, 5)
        lines = [
            Line(recipient.number, self._submission(id, recipient))
            for id, recipient in zip(self.notifications, recipients, strict=True)
        ]
        assert await self._broadcasts.accept(broadcast, lines, [], recipients[-1].number) == 2
        await self._broadcasts.expected(self.id, 0)

    async def follow(self) -> None:
        broadcast = await self._read()
        assert await self._broadcasts.next(broadcast, 5) == []
        assert await self._broadcasts.end(broadcast, BroadcastStatus.COMPLETED)
        broadcast = await self._read()
        assert (broadcast.status, broadcast.counts.active) == (BroadcastStatus.COMPLETED, 2)
        assert [refusal.number for refusal in await self._broadcasts.refused(broadcast, 0, 5)] == [3]

    async def cancel(self) -> None:
        assert await apply_command(self._pool, self._tenant, self.id, Command.CANCEL)
        assert await self._broadcasts.unstopped(self.id, 0) == (2, self.notifications)
        over = Transition(Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT, release=True)
        for id in self.notifications:
            notification = await self._ledger.load(id)
            assert notification is not None
            delivery = notification.deliveries[0]
            assert await self._ledger.update(DeliveryUpdate(id, delivery.id, delivery.version, over))
        await self._broadcasts.stopped(self.id, 2)
        assert (await self._read()).counts.cancelled == 2
        assert await self._broadcasts.clear(self.id)
        await self._broadcasts.ended(self.id)
        await self._broadcasts.tidy(1000, 5)
        assert (await self._read()).ended_at is not None

    async def _read(self) -> Broadcast:
        broadcast = await self._broadcasts.read(self.id)
        assert broadcast is not None
        return broadcast

    def _new(self) -> NewBroadcast:
        return NewBroadcast(
            *(self.id, self._tenant, str(self.id), Fingerprint(b"digest", "k1"), TYPE, (Channel.SMS,)),
            *(Strategy.ALL, "News", "Hello {{ name }}", Audience.UPLOAD),
            metadata={"campaign": "spring"},
            rate_per_s=100,
            window=Window("00:00", "00:00", "UTC"),
        )

    def _submission(self, id: UUID, recipient: BroadcastRecipient) -> Submission:
        return Submission(
            *(id, self._tenant, recipient.user_id, TYPE, "1", Fingerprint(b"digest", "k1"), self._lane),
            *(Strategy.ALL, (Channel.SMS,), f"Hello {recipient.user_id}"),
            to_sms=(recipient.addresses or {})["sms"],
            broadcast_id=self.id,
        )
