"""What goes into the application of receipts and what comes out of it."""

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
"""How many seconds after a send a notification type expects its receipt; None: it expects none."""


def none_expected(_: str) -> float | None:
    """The ReceiptDeadline of those who never apply receipts."""
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
    """A delivery that receipts moved, and its state now.

    `final`: its whole notification is over. `first`: it is of strategy `first`, whose workflow waits.
    """

    notification_id: UUID
    delivery_id: UUID
    tenant: str
    type: str
    channel: Channel
    status: Status
    final: bool
    first: bool


@dataclass(frozen=True, slots=True)
class LateAcceptance:
    """An attempt closed as `outcome`, of which a receipt now proves that the provider had taken it.

    The ledger decided on something that was not so: it must alert.
    """

    notification_id: UUID
    delivery_id: UUID
    number: int
    tenant: str
    type: str
    provider: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Orphan:
    """A receipt that fitted no attempt for as long as it was kept waiting."""

    provider: str
    event_key: str
    status: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of receipts. `taken`: how many were taken up; as many as asked for: more may wait."""

    taken: int = 0
    changed: tuple[Changed, ...] = ()
    late: tuple[LateAcceptance, ...] = ()
    orphans: tuple[Orphan, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence["Applied"]) -> "Applied":
        """Several applications as one."""
        return cls(
            sum(part.taken for part in parts),
            tuple(item for part in parts for item in part.changed),
            tuple(item for part in parts for item in part.late),
            tuple(item for part in parts for item in part.orphans),
        )

    def of(self, delivery_id: UUID) -> "Applied":
        """The part that is about one delivery."""
        return Applied(
            1,
            tuple(item for item in self.changed if item.delivery_id == delivery_id),
            tuple(item for item in self.late if item.delivery_id == delivery_id),
        )
