"""The priority of this process where processors are short: nice(2), and its session's nice value."""

import contextlib
import os
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")


def lower_process_priority(nice: int) -> None:
    """Raise the nice value by `nice`, 0 to 19. Call it before the process starts threads, which inherit it.

    Where Linux groups processes by session, nice(2) only counts within the session, and the session has a
    separate nice value: sched(7), "The autogroup feature". It is set if this process leads its session.
    """
    if not nice:
        return
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        # The file is not on every system, and a second change within a short time is refused.
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(nice))
