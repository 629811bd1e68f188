"""The commands of clients and operators: cancel, retry, discard, replay.

Each is a compare-and-set of deliveries in the ledger that releases their claim, so that the dispatcher wakes
the workflow: nothing here calls Temporal or a provider.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from domain.decision import decide
from domain.notification import Delivery, Notification
from domain.operator_decisions import (
    Cancel,
    Command,
    CommandRefused,
    Discard,
    Replay,
    Retry,
    check_retry,
    has_expired,
    in_closing_order,
    not_parked,
)
from domain.reasons import Reason
from domain.snapshot import Snapshot
from domain.status import PARKED, Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.queries import Filter, Position, Queries
from storage.records import DeliveryUpdate

_TRIES_MAX = 8
_REPLAY_CHUNK = 500
_SAMPLE_MAX = 20
REPLAY_MAX = 10_000
"""The most dead letters that one replay takes."""


class NoSuchNotification(Exception):
    """The tenant has no notification with this id."""


@dataclass(slots=True)
class Replayed:
    """What a bulk replay did, or would do. `more`: there were more than REPLAY_MAX."""

    matched: int = 0
    replayed: int = 0
    expired: int = 0
    already_handled: int = 0
    more: bool = False
    last_at: datetime | None = None
    sample: list[UUID] = field(default_factory=list[UUID])


class OperatorCommands:
    """The commands of one installation."""

    def __init__(self, ledger: Ledger, queries: Queries) -> None:
        self._ledger = ledger
        self._queries = queries

    async def cancel(self, tenant: str, id: UUID) -> None:
        """Cancel every delivery that is not being sent. Cancelling again changes nothing.

        Raises NoSuchNotification, or CommandRefused if there is nothing to cancel.
        """
        applied = 0
        for _ in range(_TRIES_MAX):
            notification = await self._load(tenant, id)
            updates = updates_of(notification, Cancel())
            if not updates:
                cancelled = any(d.reason_code == Reason.CANCELLED_BY_CLIENT for d in notification.deliveries)
                if applied or cancelled:
                    return
                raise CommandRefused(
                    "wrong_status", f"The notification is {notification.status}: there is nothing to cancel."
                )
            applied += await self._apply(updates)
        raise _conflict()

    async def retry(self, tenant: str, id: UUID, retry: Retry) -> None:
        """Send a parked notification again at once. Raises NoSuchNotification or CommandRefused."""
        applied = 0
        for _ in range(_TRIES_MAX):
            notification = await self._load(tenant, id)
            updates = updates_of(notification, retry)
            if applied and not updates:
                return
            check_retry(notification, retry)
            if retry.to and not applied:
                await self._ledger.readdress(id, retry.to)
            count = await self._apply(updates)
            if count == len(updates):
                return
            applied += count
        raise _conflict()

    async def discard(self, tenant: str, id: UUID) -> None:
        """Close a parked notification without sending it, and the channels that wait behind it.

        Raises NoSuchNotification or CommandRefused.
        """
        applied = 0
        for _ in range(_TRIES_MAX):
            notification = await self._load(tenant, id)
            parked = _in(notification, PARKED)
            if not parked:
                if applied:
                    return
                raise not_parked(notification)
            # The waiting channels first: closing the one before them would start them.
            waiting = updates_of(notification, Discard(), _in(notification, {Status.WAITING}))
            if await self._apply(waiting) == len(waiting):
                applied += await self._apply(updates_of(notification, Discard(), parked))
        raise _conflict()

    async def replay(
        self,
        tenant: str,
        matching: Filter,
        *,
        rate_per_s: float,
        dry_run: bool,
        expires_at: datetime | None = None,
    ) -> Replayed:
        """Send the matching dead letters again, oldest first, at `rate_per_s` per second.

        Unknown outcomes are skipped: each needs a separate decision. Expired ones are skipped unless there is
        a new `expires_at`.
        """
        done = Replayed()
        found = await self._queries.list_positions(tenant, matching, REPLAY_MAX + 1)
        done.more = len(found) > REPLAY_MAX
        ordered = list(reversed(found[:REPLAY_MAX]))
        for start in range(0, len(ordered), _REPLAY_CHUNK):
            chunk = ordered[start : start + _REPLAY_CHUNK]
            updates = await self._replay_updates(chunk, done, rate_per_s, expires_at)
            if not dry_run:
                await self._replay_chunk(updates, done)
        return done

    async def _replay_updates(
        self, chunk: Sequence[Position], done: Replayed, rate_per_s: float, expires_at: datetime | None
    ) -> list[DeliveryUpdate]:
        loaded = await asyncio.gather(*(self._ledger.load(position.id) for position in chunk))
        updates: list[DeliveryUpdate] = []
        for notification in loaded:
            dead = _in(notification, {Status.DEAD_LETTERED}) if notification else []
            if notification is None or not dead:
                continue
            done.matched += 1
            at = notification.now + timedelta(seconds=(done.matched - done.expired - 1) / rate_per_s)
            if notification.content_gone or any(has_expired(delivery, at, expires_at) for delivery in dead):
                done.expired += 1
                continue
            if len(done.sample) < _SAMPLE_MAX:
                done.sample.append(notification.id)
            done.last_at = at
            updates += updates_of(notification, Replay(at, expires_at))
        return updates

    async def _replay_chunk(self, updates: Sequence[DeliveryUpdate], done: Replayed) -> None:
        updated = await asyncio.gather(*(self._ledger.update(update) for update in updates))
        applied = {update.notification_id for update, result in zip(updates, updated, strict=True) if result}
        done.replayed += len(applied)
        done.already_handled += len({update.notification_id for update in updates} - applied)

    async def _load(self, tenant: str, id: UUID) -> Notification:
        notification = await self._ledger.load(id)
        if notification is None or notification.tenant != tenant:
            raise NoSuchNotification
        return notification

    async def _apply(self, updates: Sequence[DeliveryUpdate]) -> int:
        """Apply the updates, in this order or together. Returns how many found their delivery unchanged."""
        updated = await asyncio.gather(*(self._ledger.update(update) for update in updates))
        return sum(result is not None for result in updated)


async def cancel_all(ledger: Ledger, ids: Sequence[UUID]) -> int:
    """Cancel these notifications. Returns how many deliveries are being sent now, and so were not
    cancelled.
    """
    for _ in range(_TRIES_MAX):
        loaded = await asyncio.gather(*(ledger.load(id) for id in ids))
        found = [notification for notification in loaded if notification is not None]
        updates = [update for notification in found for update in updates_of(notification, Cancel())]
        if not updates:
            return sum(len(_in(notification, {Status.SENDING})) for notification in found)
        await asyncio.gather(*(ledger.update(update) for update in updates))
    raise _conflict()


def updates_of(
    notification: Notification, command: Command, deliveries: Sequence[Delivery] | None = None
) -> list[DeliveryUpdate]:
    """The command's changes of the notification, or of these deliveries, last channel first."""
    updates: list[DeliveryUpdate] = []
    for delivery in in_closing_order(notification.deliveries if deliveries is None else deliveries):
        after = decide(Snapshot(notification, delivery, notification.now), command)
        if isinstance(after, Transition):
            updates.append(DeliveryUpdate(notification.id, delivery.id, delivery.version, after))
    return updates


def _in(notification: Notification, statuses: "set[Status] | frozenset[Status]") -> list[Delivery]:
    return [delivery for delivery in notification.deliveries if delivery.status in statuses]


def _conflict() -> CommandRefused:
    return CommandRefused("changing", "The notification changed while this was being applied. Try again.")
