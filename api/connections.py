"""The connections of one API process: how many there may be, and how long each may keep the process waiting.

One sweep a second looks at every connection, so that requests cost no timers.
"""

import asyncio
from collections import Counter as Counts
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from api.client_address import group_of

BUSIEST_SHARE: Final = 0.8
"""When this share of the connections is taken, idle ones are closed early."""


class Stage(StrEnum):
    """What a connection does at the moment."""

    IDLE = "idle"
    """No request has begun."""
    HEAD = "head"
    """The head of a request is arriving."""
    ANSWERED = "answered"
    """The rest of a request arrives that has been answered already."""
    BUSY = "busy"
    """A request is being answered; api.body_limit has the deadlines of its body."""


class Connection(Protocol):
    """What the sweep needs to know of a connection, and may do with it."""

    since: float
    """When its stage began, by `Connections.now`."""
    unread_since: float | None
    """Since when a part of a response has been waiting for the client; None: nothing waits."""

    @property
    def stage(self) -> Stage:
        """What it does at the moment."""
        ...

    @property
    def unread_bytes(self) -> int:
        """How much of the responses the client has not taken yet."""
        ...

    def overdue(self, stage: Stage) -> None:
        """End it: the stage has lasted too long."""
        ...

    def abort(self) -> None:
        """Close it without waiting for the client."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections a process may have, and how long each may wait, in seconds."""

    connections_max: int = 10_000
    per_address_max: int = 0
    """For one client address; 0: no limit, because a proxy in front is one address."""
    head_s: float = 10.0
    """From the first byte of a request to the end of its headers."""
    idle_s: float = 75.0
    """Longer than clients and load balancers keep idle connections (up to a minute), so that no request is
    sent on a connection that is just being closed.
    """
    idle_busy_s: float = 5.0
    """For idle connections while most connections are taken."""
    answered_s: float = 10.0
    """How long the rest of a request that was answered already may take."""
    unread_s: float = 60.0
    """How long a response may wait for its client to read it."""
    sweep_s: float = 1.0


class Connections:
    """The open connections of a process."""

    def __init__(self, limits: ConnectionLimits, refused: Callable[[str], None]) -> None:
        self.now = 0.0
        """The time of the last sweep: precise enough for limits of several seconds, and free."""
        self._limits = limits
        self.refused = refused
        """Counts what was refused, by reason."""
        self._open: dict[Connection, str] = {}
        self._by_address: Counts[str] = Counts()
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, address: str) -> bool:
        """Add a connection; False if there are too many already, in all or from its address."""
        group = group_of(address)
        per_address_max = self._limits.per_address_max
        if len(self._open) >= self._limits.connections_max or (
            per_address_max and self._by_address[group] >= per_address_max
        ):
            return False
        if self._sweeping is None:
            self._schedule()
        self._open[connection] = group
        self._by_address[group] += 1
        connection.since = self.now
        return True

    def forget(self, connection: Connection) -> None:
        """Remove a connection that was lost."""
        group = self._open.pop(connection, None)
        if group is None:
            return
        self._by_address[group] -= 1
        if not self._by_address[group]:
            del self._by_address[group]
        if not self._open and self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self._sweeping = loop.call_later(self._limits.sweep_s, self._sweep)

    def _sweep(self) -> None:
        self._schedule()
        limits = self._limits
        crowded = len(self._open) >= BUSIEST_SHARE * limits.connections_max
        allowed = {
            Stage.IDLE: limits.idle_busy_s if crowded else limits.idle_s,
            Stage.HEAD: limits.head_s,
            Stage.ANSWERED: limits.answered_s,
        }
        for connection in list(self._open):
            if self._is_unread(connection):
                connection.abort()
                continue
            stage = connection.stage
            if stage is Stage.BUSY:
                connection.since = self.now
            elif self.now - connection.since > allowed[stage]:
                connection.overdue(stage)

    def _is_unread(self, connection: Connection) -> bool:
        if not connection.unread_bytes:
            connection.unread_since = None
            return False
        if connection.unread_since is None:
            connection.unread_since = self.now
        return self.now - connection.unread_since > self._limits.unread_s
