"""Real-time priorities on the way of an OTP: whether it waits for a processor, or for something else.

To find out, not to run with: what has such a priority can starve what it waits for.
"""

import os
from pathlib import Path

from bench.counters import family
from bench.harness import Running

PARTS = ("api", "worker_critical", "temporal", "postgres", "simulators")
"""Whatever an OTP passes through. Vendors too: what they do for others would be in its way."""


def go_first(running: Running) -> bool:
    """Give these parts, and what they start from now on, SCHED_RR; False where the system does not let us."""
    try:
        for part in PARTS:
            for pid in family(running.pid(part)):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    return True
