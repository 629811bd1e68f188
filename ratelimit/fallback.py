"""Limits counted in this process alone, for critical types while the store is unreachable."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ratelimit.keys import Charge, LimitKey

NAMES_MAX = 10_000
_DAY_S = 86_400


@dataclass(slots=True)
class _Spent:
    """What was spent under a cap on one day, in all and by charge, in millionths."""

    day: int
    total: int = 0
    by_charge: dict[str, int] = field(default_factory=dict[str, int])


class LocalCounts:
    """Sliding windows, and the day's spend, in memory. They limit one process only, not the installation.

    While the store is unreachable, `n` processes together may admit up to `n` times a limit.
    Keeps at most NAMES_MAX names and drops the least recently used.
    """

    def __init__(self) -> None:
        """Start with no counts."""
        self._windows: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._spent: OrderedDict[str, _Spent] = OrderedDict()

    def reserve(self, keys: Sequence[LimitKey], member: str, now: float) -> tuple[LimitKey, ...]:
        """Reserve a place under every limit and return (), or reserve none and return the full limits.

        `now` is in seconds since 1970.
        """
        full = self.full(keys, member, now)
        if not full:
            for key in keys:
                self._current(key, now)[member] = now
        return full

    def full(self, keys: Sequence[LimitKey], member: str, now: float) -> tuple[LimitKey, ...]:
        """The limits without a place for the member."""
        return tuple(
            key
            for key in keys
            if member not in (window := self._current(key, now)) and len(window) >= key.max
        )

    def over(self, charges: Sequence[Charge], charge: str, now: float) -> tuple[Charge, ...]:
        """The charges that exceed their cap."""
        return tuple(
            each
            for each in charges
            if (spent := self._today(each, now)).total - spent.by_charge.get(charge, 0) + each.micros
            > each.max_micros
        )

    def spend(self, charges: Sequence[Charge], charge: str, now: float) -> None:
        """Count the charges. One that was counted before is counted at its new amount."""
        for each in charges:
            spent = self._today(each, now)
            spent.total += each.micros - spent.by_charge.get(charge, 0)
            spent.by_charge[charge] = each.micros

    def refund(self, charges: Sequence[Charge], charge: str) -> None:
        """Take back the charges of a send that was not made."""
        for each in charges:
            if spent := self._spent.get(each.name):
                spent.total -= spent.by_charge.pop(charge, 0)

    def release(self, keys: Sequence[LimitKey], member: str) -> None:
        """Free the member's places."""
        for key in keys:
            self._windows.get(_window_name(key), {}).pop(member, None)

    def _today(self, charge: Charge, now: float) -> _Spent:
        day = int(now // _DAY_S)
        spent = self._spent.get(charge.name)
        if spent is None or spent.day != day:
            spent = self._spent[charge.name] = _Spent(day)
        self._spent.move_to_end(charge.name)
        if len(self._spent) > NAMES_MAX:
            self._spent.popitem(last=False)
        return spent

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
