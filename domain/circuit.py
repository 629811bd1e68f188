"""A provider's circuit: failures in a row open it, so that passes stop paying for a provider that is down."""

from collections import deque
from enum import StrEnum


class CircuitState(StrEnum):
    """`half_open`: one probe is admitted, and its outcome decides."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Circuit:
    """The circuit of one provider, as one process sees it.

    It opens when the last `failures` outcomes were all health failures (domain.outcome.HEALTH_FAILURES)
    within `window_s` seconds. For `open_s` seconds it admits no call, then one probe at a time; any success
    closes it. Every `now` is in monotonic seconds.
    """

    def __init__(self, failures: int, window_s: float, open_s: float) -> None:
        """Start closed. Raises ValueError unless all three are above zero."""
        if failures < 1 or window_s <= 0 or open_s <= 0:
            raise ValueError(f"a circuit needs positive numbers, not {failures}, {window_s}, {open_s}")
        self._window_s = window_s
        self._open_s = open_s
        self._failures: deque[float] = deque(maxlen=failures)
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    def state(self, now: float) -> CircuitState:
        """The state of the circuit."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now - self._opened_at < self._open_s else CircuitState.HALF_OPEN

    def admits(self, now: float) -> bool:
        """Whether a call would be admitted now. Reserves nothing: see `enter`."""
        state = self.state(now)
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self._probing(now))

    def enter(self, now: float) -> bool:
        """Whether this call is admitted; in a half-open circuit it becomes the probe.

        An admitted caller must report by `succeeded` or `failed`, or by `left` if it made no call. A probe
        that never reports is given up after `open_s`.
        """
        if not self.admits(now):
            return False
        if self._opened_at is not None:
            self._probe_at = now
        return True

    def left(self) -> None:
        """An admitted caller made no call: the probe is free again."""
        self._probe_at = None

    def succeeded(self) -> None:
        """A call succeeded: close the circuit and restart the count."""
        self._failures.clear()
        self._opened_at = None
        self._probe_at = None

    def failed(self, now: float) -> None:
        """A call failed in a way that counts against the provider's health."""
        state = self.state(now)
        if state is CircuitState.OPEN:
            # A call from before the circuit opened: no new information.
            return
        self._failures.append(now)
        if state is CircuitState.HALF_OPEN or self._run_is_full(now):
            self._opened_at = now
            self._probe_at = None

    def _run_is_full(self, now: float) -> bool:
        return len(self._failures) == self._failures.maxlen and now - self._failures[0] <= self._window_s

    def _probing(self, now: float) -> bool:
        return self._probe_at is not None and now - self._probe_at < self._open_s
