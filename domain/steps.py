"""What workflows and activities say to each other: ids, times and codes, never contacts or content.

One input object and one result object a call, so that a field can be added without breaking a history.
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
    """A later pass, or an open attempt to resolve: the retried activity has it."""
    AWAIT_RECEIPT = "await_receipt"
    """It was sent; the receipt has time until `wait_s`."""
    POLL = "poll"
    """It was sent and its receipt is overdue: ask the provider."""
    PARKED = "parked"
    """An operator decides; `wait_s` is how long that may take."""
    NOTHING = "nothing"
    """It is settled, or waits in the ledger for its time."""


@dataclass(frozen=True)
class Step:
    """What one delivery needs, and for how long a wait lasts, in seconds from now.

    `fast`: the provider that would be asked is quick, so that the first pass may run in the workflow task.
    `hold`: the workflow stays open for it; otherwise it waits in the ledger alone.
    `limited`: its type has a limit on the channel. Plans in older histories do not say, and count as limited.
    """

    delivery_id: str
    channel: str
    action: Action
    wait_s: float = 0.0
    state: str = ""
    reason: str | None = None
    fast: bool = True
    hold: bool = True
    limited: bool = True


@dataclass(frozen=True)
class Plan:
    """What a notification needs now. `failed`: the ledger did not answer; ask again by a retried activity."""

    status: str = ""
    type: str = ""
    lane: str = ""
    steps: list[Step] = field(default_factory=list[Step])
    failed: bool = False


@dataclass(frozen=True)
class PassResult:
    """What a step came to.

    `action` is what the delivery needs next. `replan`: another channel's turn may have come.
    `detail` says it in one line for the Web UI: codes and provider names only.
    """

    action: Action
    state: str = ""
    reason: str | None = None
    wait_s: float = 0.0
    replan: bool = False
    hold: bool = True
    detail: str = ""


@dataclass(frozen=True)
class LimitResult:
    """Whether a delivery has a place under its limits. `failed`: neither limiter nor ledger could say."""

    admitted: bool
    state: str = ""
    failed: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class PageRef:
    """Names a page: many notifications of one lane, carried through their first pass in one activity."""

    page_id: str
    lane: str


@dataclass(frozen=True)
class PageProgress:
    """How far a page is: how many notifications it took, and what they came to.

    `settled`: nothing more is needed of it. `waiting`: put off in the ledger, since no provider of theirs may
    be asked. `promoted`: each has a workflow of its own from now on. `left`: to be claimed by somebody else.
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
class BroadcastDecision:
    """What somebody decided about a broadcast: `pause`, `resume` or `cancel`."""

    broadcast_id: str
    decision: str


class BroadcastStep(StrEnum):
    """What a broadcast needs next."""

    GATHER = "gather"
    """Its query is not followed to the end."""
    ACCEPT = "accept"
    WAIT = "wait"
    """Paused, or not its time yet."""
    STOP = "stop"
    """It was cancelled: what was accepted and is not under way has to be stopped."""
    FOLLOW = "follow"
    """Every recipient was accepted or refused, and some are on their way."""
    OVER = "over"


@dataclass(frozen=True)
class BroadcastTurn:
    """What a broadcast needs next, in `wait_s` seconds, and how far it is.

    `waits_for` says why it waits; `cursor` is the number of the last recipient that was accepted or refused.
    """

    step: BroadcastStep
    state: str = ""
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
