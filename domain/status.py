"""The one status vocabulary, for deliveries and for the notifications derived from them.

The order of the members is the derivation: a notification's status is the greatest status among its
deliveries. Postgres holds the same order in the enum type `status`
(storage/migrations/0001_before_ledger.sql), so that `max(status)` derives it in SQL;
tests/storage/test_status_order.py keeps the two alike.
"""

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """Where a delivery, or a notification, stands. In ascending order."""

    # Behind an earlier channel of a `strategy: first` notification. Only deliveries have it.
    WAITING = "waiting"

    # Final: nothing will be sent any more.
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    # Final when no receipt is awaited, active while one is (`deliveries.due_at` says which).
    SENT = "sent"
    DELIVERED = "delivered"

    # Parked: an operator decides.
    OUTCOME_UNKNOWN = "outcome_unknown"
    DEAD_LETTERED = "dead_lettered"

    # Active.
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    DEFERRED = "deferred"
    SENDING = "sending"


ORDER: dict[Status, int] = {status: rank for rank, status in enumerate(Status)}

SENDABLE = frozenset({Status.ACCEPTED, Status.SCHEDULED, Status.DEFERRED})
ACTIVE = SENDABLE | {Status.SENDING}
PARKED = frozenset({Status.DEAD_LETTERED, Status.OUTCOME_UNKNOWN})
REACHED = frozenset({Status.SENT, Status.DELIVERED})
FINAL = frozenset(Status) - ACTIVE - PARKED - {Status.WAITING}


def derive(statuses: Iterable[Status]) -> Status:
    """The status of a notification whose deliveries have these statuses."""
    return max(statuses, key=ORDER.__getitem__)
