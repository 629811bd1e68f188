"""Becomes the given command, after tying its life to the process that started it.

Run as a script by its path: `python -I -S launch.py PARENT_PID SIGNAL COMMAND …`. It is a process of its own
because code between fork and exec (`preexec_fn`) may deadlock in a parent that has threads, and Temporal's
SDK starts some. The process id stays that of the command.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent's life, then become the command."""
    parent, signal_number, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        # The parent may have died before the request was made: then nobody would ever send the signal.
        if os.getppid() != int(parent):
            sys.exit(f"{command[0]}: the process that started it is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 (there is no shell to be tricked: that is the point)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
