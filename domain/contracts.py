"""What workflows and activities exchange: ids, times and codes, never contacts or content.

Each call has one input and one result object, so that a field can be added without breaking a history.
"""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class NotificationRef:
    """Names a notification."""

    notification_id: str


@dataclass(frozen=True)
class DeliveryRef:
    """Names a delivery."""

    notification_id: str
    delivery_id: str
    channel: str
    type: str


class Action(StrEnum):
    """What a delivery needs next."""

    SEND = "send"
    """A first pass: limit, then deliver."""
    RETRY = "retry"
    """A later pass, or an open attempt to resolve, by the retried activity."""
    AWAIT_RECEIPT = "await_receipt"
    """It was sent; the receipt is due within `wait_s`."""
    POLL = "poll"
    """It was sent and its receipt is overdue: ask the provider."""
    PARKED = "parked"
    """It waits for an operator, for at most `wait_s`."""
    NOTHING = "nothing"
    """It is settled, or waits in the ledger."""


@dataclass(frozen=True)
class Step:
    """What one delivery needs. `wait_s`: how long it waits, in seconds from now.

    `fast`: the provider that would be called is quick, so that the first pass may run in the workflow task.
    `keeps_workflow`: the workflow stays open for it; otherwise it waits in the ledger only.
    `limited`: its type has a limit on the channel.
    """

    delivery_id: str
    channel: str
    action: Action
    wait_s: float = 0.0
    status: str = ""
    reason: str | None = None
    fast: bool = True
    keeps_workflow: bool = True
    limited: bool = True


@dataclass(frozen=True)
class Plan:
    """What a notification needs now. `failed`: it could not be planned; plan again by a retried activity."""

    status: str = ""
    type: str = ""
    lane: str = ""
    steps: list[Step] = field(default_factory=list[Step])
    failed: bool = False


@dataclass(frozen=True)
class PassResult:
    """The result of a step.

    `action` is what the delivery needs next. `replan`: another channel may be next.
    `detail` explains it in one line for the Web UI: codes and provider names only.
    """

    action: Action
    status: str = ""
    reason: str | None = None
    wait_s: float = 0.0
    replan: bool = False
    keeps_workflow: bool = True
    detail: str = ""


@dataclass(frozen=True)
class LimitResult:
    """Whether a delivery has a place under its limits. `failed`: the ledger did not answer; check again."""

    admitted: bool
    status: str = ""
    failed: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class BatchRef:
    """Names a batch: many notifications of one lane, carried through their first pass in one activity."""

    batch_id: str
    lane: str
    turns: list[int] = field(default_factory=list[int])
    """The turns with a backlog when it was started (domain.fairness.turn_of); unused in lane `bulk`."""


@dataclass(frozen=True)
class BatchProgress:
    """The progress of a batch: how many notifications it took, and their results.

    `settled`: the batch is done with them. `waiting`: deferred, because no provider may be called or the
    limits cannot be checked. `promoted`: each gets a dedicated workflow. `left`: to be claimed again later.
    `ended`: why it took no more.
    """

    taken: int = 0
    settled: int = 0
    waiting: int = 0
    promoted: int = 0
    left: int = 0
    ended: str = ""


@dataclass(frozen=True)
class BroadcastRef:
    """Names a broadcast."""

    broadcast_id: str


@dataclass(frozen=True)
class BroadcastCommand:
    """A client's command to a broadcast: `pause`, `resume` or `cancel`."""

    broadcast_id: str
    command: str


class BroadcastStep(StrEnum):
    """What a broadcast needs next."""

    GATHER = "gather"
    """Its query has more users to gather."""
    ACCEPT = "accept"
    WAIT = "wait"
    """It is paused, or must not accept recipients yet."""
    STOP = "stop"
    """It was cancelled: accepted notifications that are not being sent must be cancelled."""
    FOLLOW = "follow"
    """Every recipient was accepted or refused, and some notifications are still active."""
    OVER = "over"


@dataclass(frozen=True)
class BroadcastTurn:
    """What a broadcast needs next, in `wait_s` seconds, and its progress.

    `waits_for` says why it waits; `cursor` is the number of the last recipient that was accepted or refused.
    """

    step: BroadcastStep
    status: str = ""
    wait_s: float = 0.0
    waits_for: str = ""
    cursor: int = 0
    total: int = 0
    accepted: int = 0
    refused: int = 0
    active: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
