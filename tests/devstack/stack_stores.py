"""A program for the tests: the stack with its stores and one idle part."""

import sys
from collections.abc import Mapping
from pathlib import Path

from devstack.dev import run
from devstack.ports import Ports
from devstack.process import Part, Process

_IDLE = "import signal; print('worker_ready', flush=True); signal.pause()"


def idle(_: Ports, environment: Mapping[str, str]) -> list[Part]:
    """An idle part instead of the API and the workers."""

    async def ready(process: Process) -> bool:
        return "worker_ready" in process.output()

    command = (sys.executable, "-c", _IDLE)
    return [Part(name="worker", command=command, ready=ready, cwd=Path.cwd(), env=environment)]


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2]), simulators=False, application=idle))
