"""The commands of clients and operators: cancel, retry, discard, replay.

Each is a compare-and-set of deliveries in the ledger that releases their claim, so that the dispatcher wakes
the workflow: nothing here calls Temporal or a provider. An operator's command commits with its entry in the
audit log.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.audit import Action, AuditEntry, Origin, Value
from domain.decision import decide
from domain.notification import Channel, Delivery, Notification
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
    masked,
    not_parked,
)
from domain.reasons import Reason
from domain.snapshot import Snapshot
from domain.status import PARKED, Status
from domain.transition import Transition
from storage import delivery_writes
from storage.audit import AuditLog
from storage.ledger import Ledger
from storage.postgres import Connection
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


class _Outdated(Exception):
    """A delivery has changed since it was loaded."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A command's changes of one notification. Without `action`, it has no entry in the audit log."""

    notification: Notification
    updates: Sequence[DeliveryUpdate]
    origin: Origin
    action: Action | None
    command: Retry | Replay | None = None

    def entry(self, statuses: Mapping[UUID, Status]) -> AuditEntry | None:
        """Build the audit entry, given the statuses of the deliveries that were changed; None if none was."""
        changed = [d for d in self.notification.deliveries if d.id in statuses]
        if self.action is None or not changed:
            return None
        before: dict[str, Value] = {"deliveries": {d.channel.value: d.status.value for d in changed}}
        after: dict[str, Value] = {"deliveries": {d.channel.value: statuses[d.id].value for d in changed}}
        match self.command:
            case Retry(expires_at, to, assume):
                if to:
                    recipient = self.notification.recipient
                    old = {channel: recipient.address(channel) for channel in to}
                    before["to"] = masked({channel: address for channel, address in old.items() if address})
                    after["to"] = masked(to)
                if assume:
                    after["assume"] = assume.value
            case Replay(at, expires_at):
                after["at"] = at.isoformat()
            case None:
                expires_at = None
        if expires_at:
            before["expires_at"] = min(d.expires_at for d in changed).isoformat()
            after["expires_at"] = expires_at.isoformat()
        return self.origin.entry(self.action, str(self.notification.id), before, after)


class OperatorCommands:
    """The commands of one installation. Each is one transaction with its entry in the audit log."""

    def __init__(self, ledger: Ledger, queries: Queries, audit: AuditLog) -> None:
        self._ledger = ledger
        self._queries = queries
        self._audit = audit

    async def cancel(self, tenant: str, id: UUID, origin: Origin, *, audited: bool) -> None:
        """Cancel every delivery that is not being sent. Cancelling again changes nothing. `audited`: an
        operator does it; for a client, the timeline alone says who it was.

        Raises NoSuchNotification, or CommandRefused if there is nothing to cancel.
        """
        for _ in range(_TRIES_MAX):
            notification = await self._load(tenant, id)
            updates = updates_of(notification, Cancel(origin.by))
            if not updates:
                if any(d.reason_code == Reason.CANCELLED_BY_CLIENT for d in notification.deliveries):
                    return
                raise CommandRefused(
                    "wrong_status", f"The notification is {notification.status}: there is nothing to cancel."
                )
            action = Action.NOTIFICATION_CANCEL if audited else None
            if await self._apply(_Change(notification, updates, origin, action)):
                return
        raise _conflict()

    async def retry(self, tenant: str, id: UUID, retry: Retry, origin: Origin) -> None:
        """Send a parked notification again at once. Raises NoSuchNotification or CommandRefused."""
        for _ in range(_TRIES_MAX):
            notification = await self._load(tenant, id)
            check_retry(notification, retry)
            updates = updates_of(notification, replace(retry, by=origin.by))
            if await self._apply(
                _Change(notification, updates, origin, Action.DEAD_LETTER_RETRY, retry), retry.to
            ):
                return
        raise _conflict()

    async def discard(self, tenant: str, id: UUID, origin: Origin) -> None:
        """Close a parked notification without sending it, and the channels that wait behind it.

        Raises NoSuchNotification or CommandRefused.
        """
        for _ in range(_TRIES_MAX):
            notification = await self._load(tenant, id)
            if not _in(notification, PARKED):
                raise not_parked(notification)
            updates = updates_of(notification, Discard(origin.by))
            if await self._apply(_Change(notification, updates, origin, Action.DEAD_LETTER_DISCARD)):
                return
        raise _conflict()

    async def replay(
        self,
        tenant: str,
        matching: Filter,
        origin: Origin,
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
            changes = await self._replay_changes(chunk, done, rate_per_s, expires_at, origin)
            if not dry_run:
                await self._replay_chunk(changes, done)
        return done

    async def _replay_changes(
        self,
        chunk: Sequence[Position],
        done: Replayed,
        rate_per_s: float,
        expires_at: datetime | None,
        origin: Origin,
    ) -> list[_Change]:
        loaded = await asyncio.gather(*(self._ledger.load(position.id) for position in chunk))
        changes: list[_Change] = []
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
            command = Replay(at, expires_at, origin.by)
            updates = updates_of(notification, command)
            changes.append(_Change(notification, updates, origin, Action.DEAD_LETTER_REPLAY, command))
        return changes

    async def _replay_chunk(self, changes: Sequence[_Change], done: Replayed) -> None:
        async def act(connection: Connection) -> tuple[int, list[AuditEntry]]:
            updates = [update for change in changes for update in change.updates]
            updated = await delivery_writes.update(connection, updates) if updates else []
            pairs = zip(updates, updated, strict=True)
            statuses = {update.delivery_id: result.status for update, result in pairs if result}
            entries = [entry for change in changes if (entry := change.entry(statuses))]
            return len(entries), entries

        applied = await self._audit.perform(act)
        done.replayed += applied
        done.already_handled += len(changes) - applied

    async def _load(self, tenant: str, id: UUID) -> Notification:
        notification = await self._ledger.load(id)
        if notification is None or notification.tenant != tenant:
            raise NoSuchNotification
        return notification

    async def _apply(self, change: _Change, to: Mapping[Channel, str] | None = None) -> bool:
        """Apply all of a change, with the new addresses and its audit entry; False if a delivery has changed
        since it was loaded: then nothing was applied.
        """

        async def act(connection: Connection) -> tuple[None, list[AuditEntry]]:
            updated = await delivery_writes.update(connection, change.updates)
            pairs = zip(change.updates, updated, strict=True)
            statuses = {update.delivery_id: result.status for update, result in pairs if result}
            if len(statuses) < len(change.updates):
                raise _Outdated
            if to:
                await delivery_writes.readdress(connection, change.notification.id, to)
            entry = change.entry(statuses)
            return None, [entry] if entry else []

        try:
            await self._audit.perform(act)
        except _Outdated:
            return False
        return True


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


def updates_of(notification: Notification, command: Command) -> list[DeliveryUpdate]:
    """The command's changes of the notification, last channel first."""
    updates: list[DeliveryUpdate] = []
    for delivery in in_closing_order(notification.deliveries):
        after = decide(Snapshot(notification, delivery, notification.now), command)
        if isinstance(after, Transition):
            updates.append(DeliveryUpdate(notification.id, delivery.id, delivery.version, after))
    return updates


def _in(notification: Notification, statuses: "set[Status] | frozenset[Status]") -> list[Delivery]:
    return [delivery for delivery in notification.deliveries if delivery.status in statuses]


def _conflict() -> CommandRefused:
    return CommandRefused("changing", "The notification changed while this was being applied. Try again.")
