"""How far a process stands back where processors are short."""

import contextlib
import os
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")


def stand_back(nice: int) -> None:
    """Let others go first, 0 to 19. Before the process has threads: they stand back as far as who began them.

    On a Linux that groups processes by their session, nice(2) counts within the session alone, and the
    session has a nice value of its own: source, sched(7), "The autogroup feature".
    """
    if not nice:
        return
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        # Not everywhere, and refused when it was changed just now.
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(nice))
