"""Runs `herald` commands in forks of a process that has imported them: importing takes half a second.

Started with one end of a socket as its standard input. A request is the arguments and the environment as
JSON, with the command's standard input, output and error, and a pipe for its exit code.
"""

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent.parent
IMPORTED = (
    *("asyncpg", "cli", "httpx", "rich.table", "settings"),
    *("console.client", "console.doctor_settings", "console.reasons", "console.terminal"),
    *("delivery.key_commands", "storage.api_keys", "storage.audit"),
)
"""What most commands import."""
REQUEST_BYTES_MAX = 200_000


def serve(requests: socket.socket) -> None:
    """Fork for each request until the other end closes."""
    sys.path.insert(0, str(ROOT))
    for name in IMPORTED:
        import_module(name)
    gc.freeze()
    # The forks below are not waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, files, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 4)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            _report(request, files)
        for file in files:
            os.close(file)


def _report(request: bytes, files: Sequence[int]) -> NoReturn:
    """Run the command in another fork, which may end in any way, and write its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, code = files
    pid = os.fork()
    if pid == 0:
        os.close(code)
        _run(request, standard)
    for file in standard:
        os.close(file)
    _, status = os.waitpid(pid, 0)
    os.write(code, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(request: bytes, standard: Sequence[int]) -> NoReturn:
    """Be the command."""
    arguments, environment = json.loads(request)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["herald", *arguments]
    code: object = 0
    try:
        import_module("cli").app()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve(socket.socket(fileno=os.dup(0)))
