"""Herald's own processes as parts of the stack."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx

from devstack.ports import Ports
from devstack.process import Part, Process

ROOT = Path(__file__).parent.parent

CALLBACKS_NICE = "10"
_FLUSH_S = 45
"""How long a worker may take to stop: it finishes the calls in flight, each up to its provider's timeout."""


def simulators(
    ports: Ports, state_dir: Path, public_url: str, environment: Mapping[str, str] | None = None
) -> Part:
    """All vendor simulators, in one process. They send callbacks to the API at `public_url`."""
    return Part(
        name="simulators",
        command=(
            *(sys.executable, "-m", "simulators", "--port", str(ports.simulators)),
            *(
                "--apns-port",
                str(ports.apns),
                "--smtp-port",
                str(ports.smtp),
                "--callback-base",
                f"{public_url}/v1/callbacks",
                "--state-dir",
                str(state_dir),
            ),
        ),
        ready=answers(f"http://127.0.0.1:{ports.simulators}/control/healthz"),
        cwd=ROOT,
        env=environment,
    )


async def simulator_settings(url: str) -> dict[str, str]:
    """The `HERALD_PROVIDERS__…` variables that point Herald at running simulators."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.get(f"{url}/control/settings")
        answer.raise_for_status()
        return answer.json()["settings"]


def application(ports: Ports, environment: Mapping[str, str]) -> list[Part]:
    """The API and the workers, each twice: one at normal CPU priority, and one at lower priority.

    The second API runs the same program for the vendors' callbacks, so that bursts of them (thousands per
    second during a broadcast) never delay client requests.
    """
    return [
        _api("api", ports.api, environment),
        _api("callbacks", ports.callbacks, {**environment, "HERALD_API_NICE": CALLBACKS_NICE}),
        _worker("worker_critical", "critical", ports.worker_critical_metrics, environment),
        _worker("worker", "high,normal,bulk", ports.worker_metrics, environment),
    ]


def _api(name: str, port: int, environment: Mapping[str, str]) -> Part:
    return Part(
        name=name,
        command=(sys.executable, "-m", "cli", "api"),
        ready=answers(f"http://127.0.0.1:{port}/healthz"),
        cwd=ROOT,
        env={**environment, "HERALD_API_PORT": str(port)},
        ready_within_s=120,
        stop_within_s=15,
    )


def _worker(name: str, lanes: str, metrics_port: int, environment: Mapping[str, str]) -> Part:
    return Part(
        name=name,
        command=(sys.executable, "-m", "cli", "worker", "--lanes", lanes),
        ready=_says("worker_ready"),
        cwd=ROOT,
        env={**environment, "HERALD_METRICS_PORT": str(metrics_port)},
        ready_within_s=120,
        stop_within_s=_FLUSH_S,
    )


def answers(url: str) -> Callable[[Process], Awaitable[bool]]:
    """A readiness check: the part responds with success at this URL."""

    async def ready(_: Process) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
                return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False

    return ready


def _says(text: str) -> Callable[[Process], Awaitable[bool]]:
    async def ready(process: Process) -> bool:
        return text in process.output()

    return ready
