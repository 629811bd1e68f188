"""Which notifications may be batched, and how fast a batch claims more. Pure."""

from dataclasses import dataclass, replace

from domain.notification import Strategy
from domain.notification_types import NotificationType

PORTION_MIN = 50
PORTION_MAX = 500
PORTION_S = 2.0
"""A portion that takes longer than this to start is too large: claims must not outlive their lease."""
SHUT_PAUSE_S = 1.0
"""How long a batch rests after a portion that could not be sent; doubled after each further one."""
SHUT_PAUSE_S_MAX = 4.0


def needs_workflow(type: NotificationType, strategy: Strategy) -> bool:
    """Whether a notification needs its own workflow from the start, because it waits for a receipt
    to go on.
    """
    return type.await_receipt or strategy is Strategy.FIRST


@dataclass(frozen=True, slots=True)
class Pace:
    """How many notifications a batch claims next, and how long it rests before that, in seconds.

    While providers are blocked (open circuit, drained, rate limit) claims are only deferred, and deferring
    them fast gains nothing: the rest grows with the share that was blocked.
    """

    portion: int = PORTION_MIN
    rest_s: float = 0.0

    def after(self, passed: int, shut: int, took_s: float) -> "Pace":
        """The pace after a portion that took `took_s` to start: `passed` were carried, `shut` met blocked
        providers.
        """
        if shut > passed > 0:
            return replace(self, rest_s=SHUT_PAUSE_S * shut / (passed + shut))
        if shut > passed:
            return replace(self, rest_s=min(max(self.rest_s * 2, SHUT_PAUSE_S), SHUT_PAUSE_S_MAX))
        if took_s > PORTION_S:
            return Pace(max(self.portion // 2, PORTION_MIN))
        if not passed:
            # No results yet.
            return self
        return Pace(min(self.portion * 2, PORTION_MAX))
