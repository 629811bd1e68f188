"""What a scenario is, and what comes of playing one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from devstack.scenarios.case import Case


@dataclass(frozen=True, slots=True)
class Scenario:
    """One promise of the service, played against the whole stack.

    `expected` says in one line what has to come of it. `alone`: it stops or kills parts of the stack, so
    that nothing else may be played beside it.
    """

    number: int
    title: str
    expected: str
    run: Callable[[Case], Awaitable[None]]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario: what REST says, what the vendors received, which attempts the ledger keeps.

    `why_not` names every expectation that was not met; empty: all were. `links` holds the Web UI's path of
    the first notifications' workflows, None for one whose workflow was never started; `more_links` is how
    many others there are.
    """

    rest: str
    received: str
    attempts: str
    why_not: tuple[str, ...]
    links: tuple[tuple[str, str | None], ...]
    more_links: int
    took_s: float

    @property
    def as_expected(self) -> bool:
        """Whether every expectation was met."""
        return not self.why_not
