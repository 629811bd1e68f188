"""Broadcasts: one message to many recipients, accepted page by page. Pure rules; the ledger has the state."""

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

PAGE_MAX: Final = 500
"""So many recipients at most are accepted at once."""
RECIPIENTS_MAX: Final = 5_000_000
LINE_BYTES_MAX: Final = 32_768
"""So long at most is what one recipient brings."""


class State(StrEnum):
    """How a broadcast stands."""

    DRAFT = "draft"
    """Its audience has not been uploaded."""
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    """Every recipient was accepted or refused."""


class Decision(StrEnum):
    """What people decide about a broadcast."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Decided:
    """From which states a decision is possible, and the state that it leads to."""

    before: tuple[State, ...]
    after: State


DECISIONS: Final[Mapping[Decision, Decided]] = {
    Decision.PAUSE: Decided((State.RUNNING,), State.PAUSED),
    Decision.RESUME: Decided((State.PAUSED,), State.RUNNING),
    Decision.CANCEL: Decided((State.DRAFT, State.RUNNING, State.PAUSED, State.COMPLETED), State.CANCELLED),
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
    """Times of day (`HH:MM`) in a time zone between which pages are accepted. `end` may be the next day's."""

    start: str
    end: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """One of an audience. `no` is its line in an upload, or its place in a list or query; from 1.

    `addresses` by channel go before the user's own.
    """

    no: int
    user_id: str
    addresses: Mapping[str, str] | None = None
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A recipient that was not accepted. The message holds nothing of the line itself."""

    no: int
    code: str
    message: str
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A broadcast as the ledger has it at `now`, the database's time.

    `query` selects users; it has been followed once `gathered`. `next_at` is when the rate allows the next
    page, `cursor` the number of the last recipient that was accepted or refused, `changes` how many
    notifications came to a status since their acceptance, less those that left it. `stopped`: no page
    holds what a cancel has to stop.
    """

    id: UUID
    tenant: str
    idempotency_key: str
    fingerprint: Fingerprint
    state: State
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
        """How its notifications stand."""
        return counts(self.accepted, self.changes)

    @property
    def unaccepted(self) -> int:
        """How many recipients wait for their page."""
        return max(0, self.total - self.accepted - self.refused)

    @property
    def eta_s(self) -> float | None:
        """How long until nothing is left, in seconds; None when nothing says so."""
        if self.state not in (State.RUNNING, State.COMPLETED) or self.started_at is None or not self.gathered:
            return None
        active = self.counts.active
        elapsed = (self.now - max(self.started_at, self.start_at or self.started_at)).total_seconds()
        return eta_s(
            elapsed, self.accepted - active, self.unaccepted + active, self.unaccepted, self.rate_per_s
        )

    @property
    def waits(self) -> tuple[Waits, datetime] | None:
        """What a running broadcast waits for and until when; None if a page may be accepted now."""
        if self.state is not State.RUNNING:
            return None
        if self.start_at is not None and self.start_at > self.now:
            return Waits.START, self.start_at
        if self.window is not None and (opens := opens_at(self.now, self.window)):
            return Waits.WINDOW, opens
        return (Waits.RATE, self.next_at) if self.next_at > self.now else None

    @property
    def page(self) -> int:
        """How many recipients one page has: at a slow rate no more than a second's, so that none comes in
        a burst.
        """
        return PAGE_MAX if self.rate_per_s is None else max(1, min(PAGE_MAX, int(self.rate_per_s)))


def opens_at(now: datetime, window: Window) -> datetime | None:
    """When the window opens; None if it is open at `now`."""
    return quiet_until(now, QuietHours(window.end, window.start), window.time_zone)


@dataclass(frozen=True, slots=True)
class Counts:
    """How a broadcast's notifications stand. Each accepted one is in exactly one of the others."""

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

    A change may be told before the acceptance of its page is: nothing is counted below zero.
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
    """How long until nothing is left, in seconds: at the pace so far, and no faster than its rate allows.

    None while nothing says how fast it goes. `left` counts what is not settled, `unaccepted` what of it
    waits for its page.
    """
    if left <= 0:
        return 0.0
    by_pace = left * elapsed_s / settled if settled > 0 and elapsed_s > 0 else None
    by_rate = unaccepted / rate_per_s if rate_per_s else None
    known = [value for value in (by_pace, by_rate) if value is not None]
    return max(known) if known else None
