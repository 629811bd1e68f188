"""A provider's circuit: opens on consecutive failures, probes, closes on success."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from domain.circuit import Circuit, CircuitState

FAILURES, WINDOW_S, OPEN_S = 3, 30.0, 10.0


def _circuit() -> Circuit:
    return Circuit(FAILURES, WINDOW_S, OPEN_S)


def _opened(at: float = 0) -> Circuit:
    circuit = _circuit()
    for _ in range(FAILURES):
        circuit.failed(at)
    return circuit


def test_consecutive_failures_open_the_circuit() -> None:
    circuit = _circuit()
    for _ in range(FAILURES - 1):
        circuit.failed(0)
    assert circuit.state(0) is CircuitState.CLOSED
    circuit.failed(WINDOW_S)
    assert circuit.state(WINDOW_S) is CircuitState.OPEN
    assert not circuit.admits(WINDOW_S)
    assert not circuit.enter(WINDOW_S)


def test_a_success_restarts_the_count() -> None:
    circuit = _circuit()
    for now in range(10):
        circuit.failed(now)
        circuit.failed(now)
        circuit.succeeded()
    assert circuit.state(10) is CircuitState.CLOSED


def test_failures_outside_the_window_do_not_open_it() -> None:
    circuit = _circuit()
    for n in range(20):
        circuit.failed(n * (WINDOW_S / 2 + 0.1))
    assert circuit.state(400) is CircuitState.CLOSED


def test_after_open_s_one_probe_at_a_time_is_admitted() -> None:
    circuit = _opened()
    assert not circuit.admits(OPEN_S - 0.1)
    assert circuit.state(OPEN_S) is CircuitState.HALF_OPEN
    assert circuit.admits(OPEN_S)
    assert circuit.enter(OPEN_S)
    assert not circuit.admits(OPEN_S)
    assert not circuit.enter(OPEN_S + 1)


def test_a_successful_probe_closes_it() -> None:
    circuit = _opened()
    assert circuit.enter(OPEN_S)
    circuit.succeeded()
    assert circuit.state(OPEN_S) is CircuitState.CLOSED
    circuit.failed(OPEN_S)
    assert circuit.state(OPEN_S) is CircuitState.CLOSED


def test_a_failed_probe_opens_it_again() -> None:
    circuit = _opened()
    assert circuit.enter(OPEN_S)
    circuit.failed(OPEN_S + 1)
    assert circuit.state(2 * OPEN_S) is CircuitState.OPEN
    assert circuit.enter(2 * OPEN_S + 1)


def test_a_probe_without_a_call_or_report_is_freed() -> None:
    circuit = _opened()
    assert circuit.enter(OPEN_S)
    circuit.left()
    assert circuit.enter(OPEN_S)
    assert not circuit.enter(2 * OPEN_S - 0.1)
    assert circuit.enter(2 * OPEN_S)


def test_failures_of_earlier_calls_do_not_keep_it_open() -> None:
    circuit = _opened()
    circuit.failed(OPEN_S - 1)
    assert circuit.state(OPEN_S) is CircuitState.HALF_OPEN


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_invalid_settings_are_refused(numbers: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Circuit(*numbers)


class CircuitRuns(RuleBasedStateMachine):
    """In any sequence of events: never blocked for longer than `open_s`, and never two probes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = _circuit()
        self.now = 0.0
        self.run = 0
        self.entered: float | None = None

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def enter(self) -> None:
        half_open = self.circuit.state(self.now) is CircuitState.HALF_OPEN
        expected = self.circuit.admits(self.now)
        assert self.circuit.enter(self.now) == expected
        if expected and half_open:
            assert self.entered is None or self.now - self.entered >= OPEN_S
            self.entered = self.now

    @rule()
    def succeed(self) -> None:
        self.circuit.succeeded()
        self.run, self.entered = 0, None
        assert self.circuit.state(self.now) is CircuitState.CLOSED

    @precondition(lambda self: self.circuit.state(self.now) is not CircuitState.OPEN)
    @rule()
    def fail(self) -> None:
        was = self.circuit.state(self.now)
        self.circuit.failed(self.now)
        self.run += 1
        if was is CircuitState.HALF_OPEN:
            assert self.circuit.state(self.now) is CircuitState.OPEN
            self.entered = None
        elif self.run < FAILURES:
            assert self.circuit.state(self.now) is CircuitState.CLOSED

    @rule()
    def is_never_shut_for_long(self) -> None:
        assert self.circuit.admits(self.now + OPEN_S + 0.001)


TestCircuitRuns = CircuitRuns.TestCase
TestCircuitRuns.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
