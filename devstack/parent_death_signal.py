"""Run a command that the kernel signals when its parent process dies.

Run as a script by its path: `python -I -S parent_death_signal.py PARENT_PID SIGNAL COMMAND …`. This script
execs the command, so the process id stays the same. `preexec_fn` is not an alternative: code between fork and
exec may deadlock in a parent that has threads, and Temporal's SDK starts some.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ask the kernel for the signal, then exec the command."""
    parent, signal_number, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        # If the parent died before the prctl call, the signal would never come.
        if os.getppid() != int(parent):
            sys.exit(f"{command[0]}: the parent process has already ended")
    try:
        os.execvp(command[0], command)  # noqa: S606 (no shell is intended)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
