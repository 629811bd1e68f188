"""Which notifications may be batched, and how fast a batch claims more. Pure."""

from dataclasses import dataclass, replace

from domain.notification import Lane, Strategy
from domain.notification_types import DispatchPolicy, NotificationType

PORTION_MIN = 50
PORTION_MAX = 500
PORTION_S = 2.0
"""A portion that takes longer than this to start is too large: claims must not outlive their lease."""
UNAVAILABLE_PAUSE_S = 1.0
"""How long a batch rests after a portion that could not be sent; doubled after each further one."""
UNAVAILABLE_PAUSE_S_MAX = 4.0


def needs_workflow(type: NotificationType | None, strategy: Strategy) -> bool:
    """Whether a notification needs a dedicated workflow from the start: it waits for its receipt, or for the
    end of one channel before the next (`first`). `type` is None if it is not configured any more.
    """
    return strategy is Strategy.FIRST or (type is not None and type.await_receipt)


def may_be_batched(lane: Lane, policy: DispatchPolicy) -> bool:
    """Whether batches may take what is due in the lane."""
    match policy.batching:
        case "never":
            return False
        case "bulk":
            return lane is Lane.BULK
        case "spike":
            return lane is not Lane.CRITICAL


def is_always_batched(lane: Lane) -> bool:
    """Whether a lane that may be batched is batched whatever its backlog; others only during a spike."""
    return lane is Lane.BULK


@dataclass(frozen=True, slots=True)
class Pace:
    """How many notifications a batch claims next, and how long it rests before that, in seconds.

    While providers are blocked (open circuit, drained, rate limit) claims are only deferred, and deferring
    them fast gains nothing: the rest grows with the share that was blocked.
    """

    portion: int = PORTION_MIN
    rest_s: float = 0.0

    def after(self, passed: int, unavailable: int, took_s: float) -> "Pace":
        """The pace after a portion that took `took_s` to start: `passed` were carried, `unavailable` met only
        blocked providers.
        """
        if unavailable > passed > 0:
            return replace(self, rest_s=UNAVAILABLE_PAUSE_S * unavailable / (passed + unavailable))
        if unavailable > passed:
            return replace(
                self, rest_s=min(max(self.rest_s * 2, UNAVAILABLE_PAUSE_S), UNAVAILABLE_PAUSE_S_MAX)
            )
        if took_s > PORTION_S:
            return Pace(max(self.portion // 2, PORTION_MIN))
        if not passed:
            # No results yet.
            return self
        return Pace(min(self.portion * 2, PORTION_MAX))
