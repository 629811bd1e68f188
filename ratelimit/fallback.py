"""Limits counted in this process alone, for critical types while the store is unreachable."""

from collections import OrderedDict
from collections.abc import Sequence

from ratelimit.keys import LimitKey

NAMES_MAX = 10_000


class LocalCounts:
    """Sliding windows in memory. They limit one process only, not the installation.

    While the store is unreachable, `n` processes together may admit up to `n` times a limit.
    Keeps at most NAMES_MAX names and drops the least recently used.
    """

    def __init__(self) -> None:
        """Start with no counts."""
        self._windows: OrderedDict[str, dict[str, float]] = OrderedDict()

    def reserve(self, keys: Sequence[LimitKey], member: str, now: float) -> tuple[LimitKey, ...]:
        """Reserve a place under every limit and return (), or reserve none and return the full limits.

        `now` is in seconds, of any clock that does not go backwards.
        """
        windows = [self._current(key, now) for key in keys]
        full = tuple(
            key
            for key, window in zip(keys, windows, strict=True)
            if member not in window and len(window) >= key.max
        )
        if full:
            return full
        for window in windows:
            window[member] = now
        return ()

    def release(self, keys: Sequence[LimitKey], member: str) -> None:
        """Free the member's places."""
        for key in keys:
            self._windows.get(_window_name(key), {}).pop(member, None)

    def _current(self, key: LimitKey, now: float) -> dict[str, float]:
        name = _window_name(key)
        window = self._windows.setdefault(name, {})
        self._windows.move_to_end(name)
        if len(self._windows) > NAMES_MAX:
            self._windows.popitem(last=False)
        for member in [member for member, at in window.items() if at <= now - key.per_s]:
            del window[member]
        return window


def _window_name(key: LimitKey) -> str:
    return f"{key.name}:{key.per_s}"
