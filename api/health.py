"""Whether this process is alive, and which of its dependencies are down."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

PROBE_S: Final = 1.5

Probe = Callable[[], Awaitable[object]]
"""Returns when the dependency answers; raises or hangs when it does not."""

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`unavailable`: Postgres is down. `degraded`: another dependency is down."""

    status: Literal["ok", "degraded", "unavailable"]
    dependencies: Mapping[str, Literal["up", "down"]]


class Probes:
    """Probes every dependency at once, for at most PROBE_S."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes

    async def ask(self) -> Readiness:
        """Return which dependencies are up."""
        answers = await asyncio.gather(*(_answers(probe) for probe in self._probes.values()))
        up = dict(zip(self._probes, answers, strict=True))
        status = "ok" if all(answers) else "degraded" if up["postgres"] else "unavailable"
        return Readiness(
            status=status, dependencies={name: "up" if is_up else "down" for name, is_up in up.items()}
        )


async def _answers(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_S):
            await probe()
    except Exception:
        # Whatever the error, the dependency cannot be used now.
        return False
    return True


@router.get("/healthz", summary="Liveness")
async def healthz() -> Health:
    """Report that the process is alive."""
    return Health()


@router.get(
    "/readyz", summary="Readiness", responses={503: {"model": Readiness, "description": "Postgres is down"}}
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Report which dependencies are down. 503 only if Postgres is down: without the others,
    notifications are accepted and wait.
    """
    probes: Probes = request.app.state.context.probes
    readiness = await probes.ask()
    if readiness.status == "unavailable":
        response.status_code = 503
    return readiness
