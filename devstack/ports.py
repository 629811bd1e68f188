"""TCP ports on the loopback interface."""

import random
import socket

from devstack.errors import DevStackError

# Above what services claim, below what Linux hands to outgoing connections (32768-60999): a port inside that
# range may be taken by any client at any moment.
_LOWEST, _HIGHEST = 20_000, 32_000

_given: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # What servers do: a closed connection's remains in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port that this process has not given out before. Raises DevStackError if none is found."""
    for _ in range(1000):
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 (nothing secret about it)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise DevStackError(f"No free port between {_LOWEST} and {_HIGHEST} on 127.0.0.1.")
