"""A scenario of the demo, and its result."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from devstack.scenarios.case import Case


@dataclass(frozen=True, slots=True)
class Scenario:
    """One guarantee of the service, tested against the whole stack.

    `expected` is the expected result in one line. `alone`: the scenario stops or kills parts of the stack, so
    no other scenario may run at the same time.
    """

    number: int
    title: str
    expected: str
    run: Callable[[Case], Awaitable[None]]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a scenario: what the API returned, what vendors received, the ledger's attempts.

    `failures` lists the expectations that did not hold. `links` has the ids of the first notifications and
    their workflows' paths in the Web UI, None for one without a workflow; `more_links` counts the rest.
    """

    api_result: str
    received: str
    attempts: str
    failures: tuple[str, ...]
    links: tuple[tuple[str, str | None], ...]
    more_links: int
    took_s: float

    @property
    def passed(self) -> bool:
        """Whether every expectation held."""
        return not self.failures
