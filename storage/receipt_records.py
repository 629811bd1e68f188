"""The input and the results of applying receipts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from domain.notification import Channel
from domain.outcome import AddressVerdict, Outcome
from domain.receipt_policy import Report
from domain.status import Status

ReceiptDeadline: TypeAlias = Callable[[str], float | None]
"""For a notification type: how many seconds after a send it expects its receipt; None: no receipt."""


def none_expected(_: str) -> float | None:
    """The ReceiptDeadline of processes that never apply receipts."""
    return None


Source: TypeAlias = Literal["callback", "poll", "lookup"]


@dataclass(frozen=True, slots=True)
class Matched:
    """A receipt whose attempt is known."""

    notification_id: UUID
    delivery_id: UUID
    accepted_at: datetime
    provider: str
    event_key: str
    report: Report
    address_verdict: AddressVerdict
    occurred_at: datetime | None
    received_at: datetime
    source: Source


@dataclass(frozen=True, slots=True)
class Changed:
    """A delivery that receipts updated, with its new status.

    `first`: its notification's strategy is `first`, so a workflow waits for it.
    """

    notification_id: UUID
    delivery_id: UUID
    type: str
    channel: Channel
    status: Status
    first: bool


@dataclass(frozen=True, slots=True)
class LateAcceptance:
    """An attempt that was closed as `outcome`, and that a receipt now proves to be accepted by the provider.

    The ledger decided on a wrong outcome, so this must raise an alert.
    """

    notification_id: UUID
    delivery_id: UUID
    provider: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Orphan:
    """A receipt that matched no attempt during all its waits."""

    provider: str
    status: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The results of applying receipts.

    `taken`: how many were processed; if that is the limit that was asked for, more may be due.
    """

    taken: int = 0
    changed: tuple[Changed, ...] = ()
    late: tuple[LateAcceptance, ...] = ()
    orphans: tuple[Orphan, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence["Applied"]) -> "Applied":
        """Several results as one."""
        return cls(
            sum(part.taken for part in parts),
            tuple(item for part in parts for item in part.changed),
            tuple(item for part in parts for item in part.late),
            tuple(item for part in parts for item in part.orphans),
        )

    def of(self, delivery_id: UUID) -> "Applied":
        """The part of one delivery."""
        return Applied(
            1,
            tuple(item for item in self.changed if item.delivery_id == delivery_id),
            tuple(item for item in self.late if item.delivery_id == delivery_id),
        )
