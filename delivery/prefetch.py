"""Keeps notifications that were read together for their first passes in the same process."""

import time
from collections import OrderedDict
from uuid import UUID

from domain.notification import Notification
from domain.status import SENDABLE

AGE_S_MAX = 2.0
"""Entries older than this are read again, in seconds."""
KEPT_MAX = 1000
"""More than any process has in flight; the oldest are dropped first."""


class PrefetchCache:
    """Saves first passes their reads of the ledger: one statement reads all notifications of a claim.

    It keeps untried notifications only. Stale entries are harmless: a pass on a notification that has changed
    loses the compare-and-set, and reads again. Any later step must read the ledger: what it waits for may
    have happened in the meantime.
    """

    def __init__(self, age_s_max: float = AGE_S_MAX) -> None:
        self._age_s_max = age_s_max
        self._read: OrderedDict[UUID, tuple[float, Notification]] = OrderedDict()

    def put(self, id: UUID, notification: Notification) -> None:
        """Keep a notification that was read just now, under its own id or a delivery's."""
        if any(d.status not in SENDABLE or d.attempts for d in notification.deliveries):
            return
        self.drop_old()
        self._read.pop(id, None)
        self._read[id] = (time.monotonic(), notification)
        if len(self._read) > KEPT_MAX:
            self._read.popitem(last=False)

    def drop_old(self) -> None:
        """Forget the entries that are too old to be used: their contents must not stay in memory."""
        oldest = time.monotonic() - self._age_s_max
        while self._read and next(iter(self._read.values()))[0] <= oldest:
            self._read.popitem(last=False)

    def __contains__(self, id: UUID) -> bool:
        """Whether there is an entry for this id, of any age."""
        return id in self._read

    def peek(self, id: UUID) -> Notification | None:
        """The entry for this id, if it is young enough; it stays."""
        at, notification = self._read.get(id, (0.0, None))
        return notification if time.monotonic() - at < self._age_s_max else None

    def take(self, id: UUID) -> Notification | None:
        """Remove and return the entry for this id, if it is young enough."""
        seen = self.peek(id)
        self._read.pop(id, None)
        return seen
