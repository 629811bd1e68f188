"""The alternatives: what each runs, and how to see whether it has work left."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis.asyncio

from bench.comparison.shared_settings import PER_PROCESS, PROCESSES
from bench.comparison.site import ROOT, SYSTEM_DATABASE, Site
from devstack.ports import free_port
from devstack.process import Part, Process

RESTATE_PACKAGES = Path(sys.prefix) / "restate"
"""Where `make bench` puts Restate's server, from bench/comparison/package-lock.json."""
MAINTENANCE_CHANCE = 100_000
"""How many of a million commands make Dramatiq requeue what a lost worker held. With the default, 1,000, an
idle worker that polls once a second does so after a quarter of an hour."""
REDELIVER_S = 20
"""How long the brokers wait for a lost worker; the defaults are an hour (Celery) and a minute (Dramatiq)."""


_WITHOUT_NAMES = (
    *("unshare", "--user", "--map-root-user", "--mount"),
    *("sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"'),
)
"""Restate's server always asks an outside host for newer versions: here it cannot resolve any name."""


@dataclass(frozen=True)
class Alternative:
    """One system. `workers` are killed on schedule, `servers` are not; `missing`: why it cannot run."""

    name: str
    module: str
    workers: Callable[[Site], list[Part]]
    outstanding: Callable[[Site], Awaitable[int]]
    servers: Callable[[Site], list[Part]] = lambda _: []
    ready: Callable[[Site], Awaitable[None]] | None = None
    missing: Callable[[], str | None] = lambda: None


def _worker(site: Site, name: str, ready: str, *command: str, times: int = 1) -> Part:
    async def says(process: Process) -> bool:
        return process.output().count(ready) >= times

    return Part(name=name, command=command, ready=says, cwd=ROOT, env=site.environment, ready_within_s=60)


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _celery(site: Site) -> list[Part]:
    options = ("--pool", "threads", "--concurrency", str(PER_PROCESS), "--loglevel", "WARNING")
    return [
        _worker(
            site,
            f"worker-{number}",
            "worker is ready",
            *(_program("celery"), "--app", "bench.comparison.on_celery", "worker"),
            *(*options, "--hostname", f"worker-{number}@comparison"),
        )
        for number in range(PROCESSES)
    ]


async def _celery_left(site: Site) -> int:
    async with redis.asyncio.from_url(site.environment["COMPARISON_BROKER_URL"]) as client:
        return await client.llen("celery") + await client.hlen("unacked")


def _dramatiq(site: Site) -> list[Part]:
    return [
        _worker(
            site,
            "worker",
            "Worker process is ready for action",
            *(_program("dramatiq"), "bench.comparison.on_dramatiq"),
            *("--processes", str(PROCESSES), "--threads", str(PER_PROCESS)),
            times=PROCESSES,
        )
    ]


async def _dramatiq_left(site: Site) -> int:
    async with redis.asyncio.from_url(site.environment["COMPARISON_BROKER_URL"]) as client:
        return await client.hlen("dramatiq:default.msgs") + await client.hlen("dramatiq:default.DQ.msgs")


def _dbos(site: Site) -> list[Part]:
    command = (sys.executable, "-m", "bench.comparison.on_dbos")
    return [
        _worker(site, f"worker-{number}", "ready", *command, f"executor-{number}")
        for number in range(PROCESSES)
    ]


async def _dbos_left(site: Site) -> int:
    return await site.value(
        "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED')",
        SYSTEM_DATABASE,
    )


def restate_server() -> Path | None:
    """The program, if it is installed."""
    return next(RESTATE_PACKAGES.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


def _restate_server(site: Site) -> list[Part]:
    admin, ingress = free_port(), free_port()
    site.environment |= {
        "COMPARISON_ADMIN_URL": f"http://127.0.0.1:{admin}",
        "COMPARISON_INGRESS_URL": f"http://127.0.0.1:{ingress}",
        "COMPARISON_SERVICE_PORT": str(free_port()),
    }
    settings = {
        "RESTATE_BASE_DIR": str(site.directory / "restate"),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_ADVERTISED_HOST": "127.0.0.1",
        "RESTATE_BIND_PORT": str(free_port()),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_LOG_FILTER": "warn",
        "RESTATE_WORKER__INVOKER__HTTP2_STREAMS_PER_CONNECTION_LIMIT": str(PER_PROCESS),
    }

    async def answers(_: Process) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
                found = [
                    await client.get(f"http://127.0.0.1:{admin}/health"),
                    await client.get(f"http://127.0.0.1:{ingress}/restate/health"),
                ]
                return all(answer.is_success for answer in found)
        except httpx.HTTPError:
            return False

    program = restate_server()
    assert program
    names = site.directory / "resolv.conf"
    names.write_text("nameserver 127.0.0.1\n", encoding="utf-8")
    return [
        Part(
            name="restate",
            command=(str(program), "--no-logo"),
            prefix=(*_WITHOUT_NAMES, str(names)),
            ready=answers,
            cwd=site.directory,
            env={**site.environment, **settings},
            ready_within_s=60,
        )
    ]


def _restate(site: Site) -> list[Part]:
    return [
        _worker(
            site,
            "worker",
            "Running on",
            *(_program("hypercorn"), "bench.comparison.on_restate:app", "--workers", str(PROCESSES)),
            *("--bind", f"127.0.0.1:{site.environment['COMPARISON_SERVICE_PORT']}"),
        )
    ]


async def _register(site: Site) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        service = f"http://127.0.0.1:{site.environment['COMPARISON_SERVICE_PORT']}"
        answer = await client.post(
            f"{site.environment['COMPARISON_ADMIN_URL']}/deployments", json={"uri": service}
        )
        answer.raise_for_status()


async def _restate_left(site: Site) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(
            f"{site.environment['COMPARISON_ADMIN_URL']}/query",
            json={"query": "SELECT count(*) AS left FROM sys_invocation WHERE status <> 'completed'"},
            headers={"Accept": "application/json"},
        )
        answer.raise_for_status()
        return answer.json()["rows"][0]["left"]


def _restate_missing() -> str | None:
    if restate_server() is None:
        return "left out: its server is not installed (`make bench` installs it)"
    tried = subprocess.run([*_WITHOUT_NAMES, "/dev/null", "true"], capture_output=True, check=False)
    if tried.returncode:
        return "left out: without user namespaces it cannot be kept from asking outside hosts"
    return None


ALTERNATIVES = (
    Alternative("Celery", "celery", _celery, _celery_left),
    Alternative("Dramatiq", "dramatiq", _dramatiq, _dramatiq_left),
    Alternative("DBOS", "dbos", _dbos, _dbos_left),
    Alternative(
        "Restate", "restate", _restate, _restate_left, _restate_server, _register, missing=_restate_missing
    ),
)
