"""TCP ports on the loopback interface."""

import asyncio
import random
import socket
import time
from dataclasses import dataclass, fields

from devstack.errors import DevStackError

# Above well-known services, and below the range that Linux uses for outgoing connections (32768-60999), where
# any client may take a port at any moment.
_LOWEST, _HIGHEST = 20_000, 32_000

_given: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server can listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a closed connection in TIME_WAIT does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port that this process has not returned before. Raises DevStackError if every port is taken."""
    for _ in range(1000):
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 (not a secret)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise DevStackError(
        f"No free port between {_LOWEST} and {_HIGHEST} on 127.0.0.1. Stop programs that listen there."
    )


@dataclass(frozen=True)
class Ports:
    """The ports of a stack."""

    temporal: int = 7233
    temporal_ui: int = 8233
    postgres: int = 15432
    valkey: int = 16379
    simulators: int = 8100
    apns: int = 8101
    smtp: int = 8102
    api: int = 8000
    callbacks: int = 8001
    worker_metrics: int = 9464
    worker_critical_metrics: int = 9465

    @classmethod
    def shifted(cls, offset: int) -> "Ports":
        """The default ports plus `offset`. Raises DevStackError if one is outside the valid range."""
        moved = {port.name: getattr(cls(), port.name) + offset for port in fields(cls)}
        if not all(1024 <= port <= 65535 for port in moved.values()):
            lowest, highest = min(moved.values()) - offset, max(moved.values()) - offset
            raise DevStackError(
                f"--port-offset {offset} moves a port out of 1024-65535. "
                f"Use a value from {1024 - lowest} to {65535 - highest}."
            )
        return cls(**moved)

    @classmethod
    def free(cls) -> "Ports":
        """Random free ports."""
        return cls(**{port.name: free_port() for port in fields(cls)})

    @property
    def api_url(self) -> str:
        """The API's URL."""
        return f"http://127.0.0.1:{self.api}"

    @property
    def callbacks_url(self) -> str:
        """The URL of the second API, which vendors call back."""
        return f"http://127.0.0.1:{self.callbacks}"

    async def check_free(self, names: set[str]) -> None:
        """Check that the named ports are free. Raises DevStackError that lists those that are taken."""
        deadline = time.monotonic() + 1  # processes of a killed stack may still be ending
        while taken := [name for name in sorted(names) if not is_free(getattr(self, name))]:
            if time.monotonic() > deadline:
                listed = ", ".join(f"port {getattr(self, name)} ({name}) is taken" for name in taken)
                raise DevStackError(
                    f"{listed[0].upper()}{listed[1:]}: stop the process that listens there, "
                    "or use other ports with --port-offset."
                )
            await asyncio.sleep(0.05)
