"""How many of something may begin in a second."""

import time


class Allowance:
    """So many a second, and no more than a second's worth at once."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = per_s
        self._at = time.monotonic()

    def left(self) -> int:
        """How many may begin now."""
        now = time.monotonic()
        self._left = min(self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        return int(self._left)

    def take(self, count: int) -> None:
        """So many begin."""
        self._left -= count
