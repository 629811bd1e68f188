"""Broadcasts: one message to many recipients, accepted in chunks. Pure rules; the ledger holds the status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from domain.fingerprint import Fingerprint
from domain.notification import Channel, QuietHours, Strategy
from domain.preferences import quiet_until
from domain.status import ACTIVE, PARKED, Status

CHUNK_MAX: Final = 500
"""The most recipients of one chunk, accepted together."""
RECIPIENTS_MAX: Final = 5_000_000
LINE_BYTES_MAX: Final = 32_768
"""The most bytes of one recipient's line in an upload."""


class BroadcastStatus(StrEnum):
    """The status of a broadcast."""

    DRAFT = "draft"
    """Its audience has not been uploaded."""
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    """Every recipient was accepted or refused."""


class Command(StrEnum):
    """What a client can do with a broadcast."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Change:
    """The statuses in which a command is possible, and the status that follows."""

    before: tuple[BroadcastStatus, ...]
    after: BroadcastStatus


COMMANDS: Final[Mapping[Command, Change]] = {
    Command.PAUSE: Change((BroadcastStatus.RUNNING,), BroadcastStatus.PAUSED),
    Command.RESUME: Change((BroadcastStatus.PAUSED,), BroadcastStatus.RUNNING),
    Command.CANCEL: Change(
        (BroadcastStatus.DRAFT, BroadcastStatus.RUNNING, BroadcastStatus.PAUSED, BroadcastStatus.COMPLETED),
        BroadcastStatus.CANCELLED,
    ),
}


class Ended(StrEnum):
    """Why a broadcast was cancelled: its `reason_code`."""

    CANCELLED_BY_CLIENT = "cancelled_by_client"
    EXPIRED = "expired"
    """Its expiry passed before every recipient was accepted."""
    ABANDONED = "abandoned"
    """Its audience was not uploaded within a week."""


class Audience(StrEnum):
    """Where a broadcast's recipients come from."""

    LIST = "list"
    UPLOAD = "upload"
    QUERY = "query"


class Waits(StrEnum):
    """What a running broadcast waits for."""

    START = "start"
    WINDOW = "window"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class Window:
    """Times of day (`HH:MM`) in a time zone between which chunks are accepted. `end` may be on the next
    day."""

    start: str
    end: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class BroadcastRecipient:
    """One recipient of an audience. `addresses`, by channel, are used before the user's.

    `number`: its line in an upload, or its position in a list or query, from 1.
    """

    number: int
    user_id: str
    addresses: Mapping[str, str] | None = None
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A recipient that was not accepted. The message repeats nothing of the line, the pointer no address."""

    number: int
    code: str
    message: str
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A broadcast as the ledger has it at `now`, the database's time.

    `query` selects users; `gathered`: all of them are recipients now. `next_at`: when the rate allows the
    next chunk. `cursor`: the number of the last recipient that was accepted or refused. `changes`: for each
    status, how many notifications entered it since their acceptance, minus those that left it. `stopped`: no
    chunk holds notifications that a cancel still has to stop.
    """

    id: UUID
    tenant: str
    idempotency_key: str
    fingerprint: Fingerprint
    status: BroadcastStatus
    reason_code: str | None
    type: str
    channels: tuple[Channel, ...]
    strategy: Strategy
    title: str | None
    body: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    audience: Audience
    query: Mapping[str, Any] | None
    gathered: bool
    rate_per_s: float | None
    window: Window | None
    start_at: datetime | None
    expires_at: datetime | None
    next_at: datetime
    upload: int
    digest: bytes | None
    total: int
    accepted: int
    refused: int
    cursor: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    now: datetime
    changes: Mapping[Status, int]
    stopped: bool = True

    @property
    def counts(self) -> "Counts":
        """Its notifications by outcome."""
        return counts(self.accepted, self.changes)

    @property
    def unaccepted(self) -> int:
        """How many recipients are not accepted or refused yet."""
        return max(0, self.total - self.accepted - self.refused)

    @property
    def eta_s(self) -> float | None:
        """The estimated time to completion in seconds; None if it is unknown."""
        if (
            self.status not in (BroadcastStatus.RUNNING, BroadcastStatus.COMPLETED)
            or self.started_at is None
            or not self.gathered
        ):
            return None
        active = self.counts.active
        elapsed = (self.now - max(self.started_at, self.start_at or self.started_at)).total_seconds()
        return eta_s(
            elapsed, self.accepted - active, self.unaccepted + active, self.unaccepted, self.rate_per_s
        )

    @property
    def waits(self) -> tuple[Waits, datetime] | None:
        """What a running broadcast waits for, and until when; None if a chunk may be accepted now."""
        if self.status is not BroadcastStatus.RUNNING:
            return None
        if self.start_at is not None and self.start_at > self.now:
            return Waits.START, self.start_at
        if self.window is not None and (opens := opens_at(self.now, self.window)):
            return Waits.WINDOW, opens
        return (Waits.RATE, self.next_at) if self.next_at > self.now else None

    @property
    def chunk(self) -> int:
        """The most recipients of one chunk: at a slow rate those of one second, to avoid bursts."""
        return CHUNK_MAX if self.rate_per_s is None else max(1, min(CHUNK_MAX, int(self.rate_per_s)))


def opens_at(now: datetime, window: Window) -> datetime | None:
    """When the window opens; None if it is open at `now`."""
    return quiet_until(now, QuietHours(window.end, window.start), window.time_zone)


@dataclass(frozen=True, slots=True)
class Counts:
    """A broadcast's notifications by outcome. Each accepted one is in exactly one of the other counts."""

    accepted: int = 0
    active: int = 0
    sent: int = 0
    """A provider took it, and no receipt has said more."""
    delivered: int = 0
    failed: int = 0
    suppressed: int = 0
    cancelled: int = 0
    parked: int = 0


_FAILED = frozenset({Status.FAILED, Status.UNDELIVERED, Status.EXPIRED})
_SUPPRESSED = frozenset({Status.SUPPRESSED, Status.RATE_LIMITED})


def counts(accepted: int, changes: Mapping[Status, int]) -> Counts:
    """The counts of a broadcast from how many were accepted, and the changes since then by status.

    A change may be counted before the acceptance of its chunk, so no count goes below zero.
    """

    def total(*statuses: Status) -> int:
        return max(0, sum(changes.get(status, 0) for status in statuses))

    return Counts(
        accepted=accepted,
        active=max(0, accepted + sum(changes.get(status, 0) for status in (*ACTIVE, Status.WAITING))),
        sent=total(Status.SENT),
        delivered=total(Status.DELIVERED),
        failed=total(*_FAILED),
        suppressed=total(*_SUPPRESSED),
        cancelled=total(Status.CANCELLED),
        parked=total(*PARKED),
    )


def eta_s(
    elapsed_s: float, settled: int, left: int, unaccepted: int, rate_per_s: float | None
) -> float | None:
    """The estimated time to completion in seconds: at the pace so far, and no faster than the rate allows.

    None while the pace is unknown. `left` counts notifications that are not settled, `unaccepted` the
    recipients among them that are not accepted yet.
    """
    if left <= 0:
        return 0.0
    by_pace = left * elapsed_s / settled if settled > 0 and elapsed_s > 0 else None
    by_rate = unaccepted / rate_per_s if rate_per_s else None
    known = [value for value in (by_pace, by_rate) if value is not None]
    return max(known) if known else None
