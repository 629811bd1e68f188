"""The possible decisions about a delivery: wait, call a provider, resolve an attempt, or a transition."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from domain.notification import Attempt, Delivery
from domain.outcome import Outcome
from domain.reasons import Reason
from domain.routing import Candidate
from domain.status import Status


@dataclass(frozen=True, slots=True)
class Closure:
    """How a transition closes the attempt that caused it.

    `resolved_by`: `response`, `lookup` or `policy`, as the ledger records it.
    """

    number: int
    outcome: Outcome
    resolved_by: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a delivery. None in `pass_number`, `next_pass_at` or `expires_at` leaves it unchanged.

    `due_at`: the deadline for the next step; None if nothing is expected any more.
    `new_round`: the retry schedule restarts with the next pass, because an operator asked for it.
    `release`: nothing acts on the delivery before `due_at`, so its claim is released.
    `event` and `data` record the reason in the timeline; they never hold contacts or content.
    `closes`: the open attempt that the same write closes.
    """

    status: Status
    due_at: datetime | None
    reason_code: str | None = None
    pass_number: int | None = None
    new_round: bool = False
    next_pass_at: datetime | None = None
    expires_at: datetime | None = None
    release: bool = False
    event: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    closes: Closure | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing before `until`; None: nothing is expected any more, or an operator must act.

    `postponement`: the transition that moves the delivery's due time too, so that nothing claims it earlier.
    `detail` says in one line what it waits for: codes and provider names only.
    """

    until: datetime | None
    detail: str = ""
    postponement: Transition | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Send through this provider now. `skipped`: why earlier providers of the route are not called."""

    candidate: Candidate
    skipped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find out the outcome of this attempt before anything else is sent.

    An open attempt may have been sent; an accepted one has an overdue receipt. `conclusive`: the provider has
    had time to make the message visible, so "not found" means that it was not sent.
    """

    attempt: Attempt
    conclusive: bool


Decision: TypeAlias = Wait | Call | Resolve | Transition


def defer(delivery: Delivery, until: datetime, reason: Reason | None) -> Transition:
    """Defer the delivery in the ledger until `until`, or until it expires."""
    at = min(until, delivery.expires_at)
    return Transition(
        Status.DEFERRED,
        at,
        reason,
        next_pass_at=at,
        release=True,
        event="deferred",
        data={"until": at.isoformat()},
    )
