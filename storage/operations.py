"""What people decide about notifications: cancel, retry, discard, replay; and about providers.

Each is a compare-and-set of deliveries in the ledger, whose claim is released, so that the dispatcher
wakes the workflow: nothing here speaks to Temporal.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.decisions import Next
from domain.notification import Channel, Delivery, Notification
from domain.reasons import Reason
from domain.status import PARKED, SENDABLE, Status
from storage.ledger import Ledger
from storage.reads import Filter, Position, Reads
from storage.rows import Move
from storage.statements import statement

_TRIES_MAX = 8
_REPLAY_CHUNK = 500
REPLAY_MAX = 10_000


class Assume(StrEnum):
    """What an operator takes an unknown outcome for."""

    SENT = "sent"
    SEND_AGAIN = "send_again"


class NoSuchNotification(Exception):
    """There is none with this id in this tenant."""


class OperationRefused(Exception):
    """The notification is not in a state for this. `field` is what the request could bring to help."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field


@dataclass(frozen=True, slots=True)
class Retry:
    """How a dead letter is sent again: a new expiry, other addresses, what an unknown outcome was."""

    expires_at: datetime | None = None
    to: Mapping[Channel, str] = field(default_factory=dict[Channel, str])
    assume: Assume | None = None


@dataclass(slots=True)
class Replayed:
    """What a bulk replay did, or would do. `more`: it stopped at REPLAY_MAX, and there are others."""

    matched: int = 0
    replayed: int = 0
    expired: int = 0
    moved_meanwhile: int = 0
    more: bool = False
    last_at: datetime | None = None
    sample: list[UUID] = field(default_factory=list[UUID])


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider as operators and the circuits see it."""

    state: str
    circuit: str
    circuit_at: datetime | None


class Operations:
    """The operations of one installation."""

    def __init__(self, ledger: Ledger, reads: Reads) -> None:
        self._ledger = ledger
        self._pool = ledger.pool
        self._reads = reads

    async def cancel(self, tenant: str, id: UUID) -> None:
        """Cancel every delivery that is not under way. Cancelling what was cancelled changes nothing.

        Raises NoSuchNotification, or OperationRefused when there is nothing left to cancel.
        """
        moved = 0
        for _ in range(_TRIES_MAX):
            notification = await self._of(tenant, id)
            open = [d for d in notification.deliveries if d.state in SENDABLE | {Status.WAITING}]
            if not open:
                cancelled = any(d.reason_code == Reason.CANCELLED_BY_CLIENT for d in notification.deliveries)
                if moved or cancelled:
                    return
                raise OperationRefused(
                    "wrong_state", f"The notification is {notification.status}: there is nothing to cancel."
                )
            end = Next(
                Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT, release=True, event="cancelled_by_client"
            )
            moved += await self._move_all(notification, _last_first(open), end)
        raise _restless()

    async def retry(self, tenant: str, id: UUID, how: Retry) -> None:
        """Send a dead letter again, at once. Raises NoSuchNotification or OperationRefused."""
        moved = 0
        for _ in range(_TRIES_MAX):
            notification = await self._of(tenant, id)
            parked = [delivery for delivery in notification.deliveries if delivery.state in PARKED]
            if moved and not parked:
                return
            _check_retry(notification, parked, how)
            if how.to and not moved:
                await self._pool.execute(statement("readdress"), id, dict(how.to))
            if how.assume is Assume.SENT:
                next = Next(Status.SENT, None, release=True, event="assumed_sent")
            else:
                data: dict[str, object] = {"to": list(how.to)} if how.to else {}
                next = _again(notification.now, how.expires_at, "retried", data)
            count = await self._move_all(notification, parked, next)
            if count == len(parked):
                return
            moved += count
        raise _restless()

    async def discard(self, tenant: str, id: UUID) -> None:
        """Close a dead letter without sending it, and the channels that waited behind it.

        Raises NoSuchNotification or OperationRefused.
        """
        moved = 0
        for _ in range(_TRIES_MAX):
            notification = await self._of(tenant, id)
            parked = [delivery for delivery in notification.deliveries if delivery.state in PARKED]
            if not parked:
                if moved:
                    return
                raise _not_parked(notification)
            waiting = [d for d in notification.deliveries if d.state is Status.WAITING]
            not_sent = Next(Status.CANCELLED, None, Reason.DISCARDED)
            closed = Next(Status.FAILED, None, Reason.DISCARDED, release=True, event="discarded")
            # The waiting ones first, or closing the one before them would wake them.
            if await self._move_all(notification, _last_first(waiting), not_sent) == len(waiting):
                moved += await self._move_all(notification, parked, closed)
        raise _restless()

    async def replay(
        self,
        tenant: str,
        filter: Filter,
        *,
        rate_per_s: float,
        dry_run: bool,
        expires_at: datetime | None = None,
    ) -> Replayed:
        """Send the dead letters that match again, oldest known first, `rate_per_s` of them a second.

        Unknown outcomes are left alone: each needs a decision of its own. So are expired ones, unless
        there is a new `expires_at`.
        """
        done = Replayed()
        found = await self._reads.listed(tenant, filter, REPLAY_MAX + 1)
        done.more = len(found) > REPLAY_MAX
        ordered = list(reversed(found[:REPLAY_MAX]))
        for start in range(0, len(ordered), _REPLAY_CHUNK):
            await self._replay_chunk(
                ordered[start : start + _REPLAY_CHUNK], done, rate_per_s, dry_run, expires_at
            )
        return done

    async def _replay_chunk(
        self,
        chunk: Sequence[Position],
        done: Replayed,
        rate_per_s: float,
        dry_run: bool,
        expires_at: datetime | None,
    ) -> None:
        loaded = await asyncio.gather(*(self._ledger.load(position.id) for position in chunk))
        moves: list[Move] = []
        for notification in loaded:
            if notification is None:
                continue
            dead = [d for d in notification.deliveries if d.state is Status.DEAD_LETTERED]
            if not dead:
                continue
            done.matched += 1
            at = notification.now + timedelta(seconds=(done.matched - done.expired - 1) / rate_per_s)
            if any((expires_at or delivery.expires_at) <= at for delivery in dead):
                done.expired += 1
                continue
            if len(done.sample) < 20:
                done.sample.append(notification.id)
            done.last_at = at
            again = _again(at, expires_at, "replayed", {"at": at.isoformat()})
            moves += [Move(notification.id, d.id, d.version, again) for d in dead]
        if dry_run:
            return
        moved = await asyncio.gather(*(self._ledger.move(move) for move in moves))
        came = {move.notification_id for move, result in zip(moves, moved, strict=True) if result}
        done.replayed += len(came)
        done.moved_meanwhile += len({move.notification_id for move in moves} - came)

    async def provider_states(self) -> dict[str, ProviderState]:
        """What is stored of the providers. One that is missing is active, its circuit closed."""
        rows = await self._pool.fetch(statement("provider_states"))
        return {row["name"]: ProviderState(row["state"], row["circuit"], row["circuit_at"]) for row in rows}

    async def set_provider_state(self, name: str, state: str) -> None:
        """Make a provider `active` or `drained`; the workers are notified."""
        await self._pool.execute(statement("set_provider_state"), name, state)

    async def _of(self, tenant: str, id: UUID) -> Notification:
        notification = await self._ledger.load(id)
        if notification is None or notification.tenant != tenant:
            raise NoSuchNotification
        return notification

    async def _move_all(self, notification: Notification, deliveries: Sequence[Delivery], next: Next) -> int:
        """Move each of them, in this order or together; False if one had moved meanwhile."""
        moved = await asyncio.gather(
            *(
                self._ledger.move(Move(notification.id, delivery.id, delivery.version, next))
                for delivery in deliveries
            )
        )
        return sum(result is not None for result in moved)


async def cancel_all(ledger: Ledger, ids: Sequence[UUID]) -> int:
    """Cancel whatever of these notifications is not under way; how many are being sent at this moment."""
    end = Next(Status.CANCELLED, None, Reason.CANCELLED_BY_CLIENT, release=True, event="cancelled_by_client")
    for _ in range(_TRIES_MAX):
        loaded = await asyncio.gather(*(ledger.load(id) for id in ids))
        found = [notification for notification in loaded if notification is not None]
        moves = [
            Move(notification.id, delivery.id, delivery.version, end)
            for notification in found
            for delivery in _last_first(notification.deliveries)
            if delivery.state in SENDABLE | {Status.WAITING}
        ]
        if not moves:
            sending = (d.state is Status.SENDING for n in found for d in n.deliveries)
            return sum(sending)
        await asyncio.gather(*(ledger.move(move) for move in moves))
    raise _restless()


def _last_first(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Of `strategy: first`, a channel must end before the one whose end would wake it."""
    return sorted(deliveries, key=lambda delivery: -delivery.position)


def _not_parked(notification: Notification) -> OperationRefused:
    detail = f"The notification is {notification.status}: no delivery of it waits for an operator."
    return OperationRefused("wrong_state", detail)


def _check_retry(notification: Notification, parked: Sequence[Delivery], how: Retry) -> None:
    if not parked:
        raise _not_parked(notification)
    unknown = [delivery for delivery in parked if delivery.state is Status.OUTCOME_UNKNOWN]
    if unknown and how.assume is None:
        raise OperationRefused(
            "assume_required",
            "A provider may have sent it: say whether to take it for sent, or to send it again.",
            "assume",
        )
    if how.assume is Assume.SENT and len(unknown) < len(parked):
        raise OperationRefused(
            "wrong_state", "Only an unknown outcome can be taken for sent: this was not sent.", "assume"
        )
    expired = [d for d in parked if (how.expires_at or d.expires_at) <= notification.now]
    if expired and how.assume is not Assume.SENT:
        raise OperationRefused("expired", "It has expired: a retry needs a new expiry.", "expires_at")
    channels = {delivery.channel for delivery in parked}
    for channel in how.to:
        if channel not in channels:
            raise OperationRefused(
                "wrong_state", f"There is no dead letter over {channel} to send elsewhere.", f"to/{channel}"
            )


def _again(at: datetime, expires_at: datetime | None, event: str, data: dict[str, object]) -> Next:
    return Next(
        Status.ACCEPTED,
        at,
        Reason.REPLAYED,
        new_round=True,
        next_pass_at=at,
        expires_at=expires_at,
        release=True,
        event=event,
        data=data,
    )


def _restless() -> OperationRefused:
    return OperationRefused("changing", "The notification kept changing meanwhile. Try again.")
