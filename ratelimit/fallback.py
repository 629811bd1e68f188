"""Limits counted in this process alone, for what may not wait while the store is away."""

from collections import OrderedDict
from collections.abc import Sequence

from ratelimit.keys import LimitKey

NAMES_MAX = 10_000


class LocalCounts:
    """Sliding windows in memory: a bound for one process, not the limit itself.

    With the store away, `n` processes together may admit up to `n` times a limit. At most NAMES_MAX
    names are kept; beyond them the ones untouched for longest are forgotten.
    """

    def __init__(self) -> None:
        """Empty."""
        self._windows: OrderedDict[str, dict[str, float]] = OrderedDict()

    def reserve(self, keys: Sequence[LimitKey], member: str, now: float) -> tuple[LimitKey, ...]:
        """Take a place under every limit and return (), or take none and return the full ones.

        `now` is in seconds of any clock that does not jump back.
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
        """Give the member's places back."""
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
