"""A token bucket: a rate with a burst of one second."""

import time


class TokenBucket:
    """At most `per_s` tokens a second, and a burst of at most `per_s`."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = per_s
        self._at = time.monotonic()

    def left(self) -> int:
        """How many tokens are available now."""
        now = time.monotonic()
        self._left = min(self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        return int(self._left)

    def take(self, count: int) -> None:
        """Use `count` tokens."""
        self._left -= count
