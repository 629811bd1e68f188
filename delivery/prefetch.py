"""What was read of notifications that are about to be sent for the first time, handed on within a process."""

import time
from collections import OrderedDict
from uuid import UUID

from domain.notification import Notification
from domain.status import SENDABLE

AGE_S_MAX = 2.0
"""What was read longer ago is read again."""
KEPT_MAX = 1000
"""More than any process has in flight; the oldest go first."""


class PrefetchCache:
    """Spares each first pass its own reads of the ledger: those of one claim are read in one statement.

    It holds nothing but notifications that nobody has sent anything of, and is believed in nothing: who acts
    on what has changed since loses the compare-and-set, and reads again. For anything else the workflow must
    see the ledger as it is when it looks: what it waits for may have happened meanwhile.
    """

    def __init__(self, age_s_max: float = AGE_S_MAX) -> None:
        self._age_s_max = age_s_max
        self._read: OrderedDict[UUID, tuple[float, Notification]] = OrderedDict()

    def put(self, id: UUID, notification: Notification) -> None:
        """Hand a notification that was read just now to whoever asks by this id: its own, or a delivery's."""
        if any(d.state not in SENDABLE or d.attempts for d in notification.deliveries):
            return
        self._read.pop(id, None)
        self._read[id] = (time.monotonic(), notification)
        if len(self._read) > KEPT_MAX:
            self._read.popitem(last=False)

    def peek(self, id: UUID) -> Notification | None:
        """What was handed on for this id, if it is young; it stays."""
        at, notification = self._read.get(id, (0.0, None))
        return notification if time.monotonic() - at < self._age_s_max else None

    def take(self, id: UUID) -> Notification | None:
        """What was handed on for this id, if it is young. Once: who looks a second time reads the ledger."""
        seen = self.peek(id)
        self._read.pop(id, None)
        return seen
