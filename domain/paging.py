"""What may go by pages, many notifications in one workflow, and how fast a page takes more. Pure."""

from dataclasses import dataclass, replace

from domain.notification import Strategy
from domain.notification_types import NotificationType

PORTION_MIN = 50
PORTION_MAX = 500
PORTION_S = 2.0
"""A portion that took longer than this to begin was too large: what is claimed must not outlive its lease."""
SHUT_PAUSE_S = 1.0
"""How long a page rests after a portion of which nothing could be sent; twice as long after the next one."""
SHUT_PAUSE_S_MAX = 4.0


def needs_workflow(type: NotificationType, strategy: Strategy) -> bool:
    """Whether a notification has a workflow of its own from the start: it waits for a receipt to go on."""
    return type.await_receipt or strategy is Strategy.FIRST


@dataclass(frozen=True, slots=True)
class Pace:
    """How many notifications a page takes next, and how long it rests before, in seconds.

    While providers are shut (circuits open, drained, out of tokens) what is taken is put off, and nothing
    is won by doing so fast: the rest is in proportion to the share that met a shut door.
    """

    portion: int = PORTION_MIN
    rest_s: float = 0.0

    def after(self, passed: int, shut: int, took_s: float) -> "Pace":
        """The pace after a portion that took so long to begin, while so many went through and so many met
        a shut door.
        """
        if shut > passed > 0:
            return replace(self, rest_s=SHUT_PAUSE_S * shut / (passed + shut))
        if shut > passed:
            return replace(self, rest_s=min(max(self.rest_s * 2, SHUT_PAUSE_S), SHUT_PAUSE_S_MAX))
        if took_s > PORTION_S:
            return Pace(max(self.portion // 2, PORTION_MIN))
        if not passed:
            # Nothing has come back yet: nothing is known.
            return self
        return Pace(min(self.portion * 2, PORTION_MAX))
