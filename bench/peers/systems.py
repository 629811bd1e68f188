"""The systems compared: what each runs, and how one tells that it has nothing left to do."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis.asyncio

from bench.peers.site import ROOT, SYSTEM_DATABASE, Site
from bench.peers.terms import PER_PROCESS, PROCESSES
from devstack.ports import free_port
from devstack.process import Part, Process

RESTATE_PACKAGES = Path(sys.prefix) / "restate"
"""Where `make bench` puts Restate's server, from bench/peers/package-lock.json."""
MAINTENANCE_CHANCE = 100_000
"""Of a million commands, how many make Dramatiq put back what a lost worker held; its default is 1,000, which
an idle worker that asks once a second reaches after a quarter of an hour."""
REDELIVER_S = 20
"""How long the brokers wait for a worker that is gone; their defaults are an hour (Celery) and a minute."""


_WITHOUT_NAMES = (
    *("unshare", "--user", "--map-root-user", "--mount"),
    *("sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"'),
)
"""Restate's server asks an outside host for newer versions, whatever is set: here it finds no host."""


@dataclass(frozen=True)
class Peer:
    """One system. `workers` are killed by the schedule, `servers` are not; `wanted` says what is missing."""

    name: str
    module: str
    workers: Callable[[Site], list[Part]]
    outstanding: Callable[[Site], Awaitable[int]]
    servers: Callable[[Site], list[Part]] = lambda _: []
    ready: Callable[[Site], Awaitable[None]] | None = None
    wanted: Callable[[], str | None] = lambda: None


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
            *(_program("celery"), "--app", "bench.peers.on_celery", "worker"),
            *(*options, "--hostname", f"worker-{number}@peers"),
        )
        for number in range(PROCESSES)
    ]


async def _celery_left(site: Site) -> int:
    async with redis.asyncio.from_url(site.environment["PEERS_BROKER_URL"]) as client:
        return await client.llen("celery") + await client.hlen("unacked")


def _dramatiq(site: Site) -> list[Part]:
    return [
        _worker(
            site,
            "worker",
            "Worker process is ready for action",
            *(_program("dramatiq"), "bench.peers.on_dramatiq"),
            *("--processes", str(PROCESSES), "--threads", str(PER_PROCESS)),
            times=PROCESSES,
        )
    ]


async def _dramatiq_left(site: Site) -> int:
    async with redis.asyncio.from_url(site.environment["PEERS_BROKER_URL"]) as client:
        return await client.hlen("dramatiq:default.msgs") + await client.hlen("dramatiq:default.DQ.msgs")


def _dbos(site: Site) -> list[Part]:
    command = (sys.executable, "-m", "bench.peers.on_dbos")
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
    """The program, if it was installed."""
    return next(RESTATE_PACKAGES.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


def _restate_server(site: Site) -> list[Part]:
    admin, ingress = free_port(), free_port()
    site.environment |= {
        "PEERS_ADMIN_URL": f"http://127.0.0.1:{admin}",
        "PEERS_INGRESS_URL": f"http://127.0.0.1:{ingress}",
        "PEERS_SERVICE_PORT": str(free_port()),
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
            *(_program("hypercorn"), "bench.peers.on_restate:app", "--workers", str(PROCESSES)),
            *("--bind", f"127.0.0.1:{site.environment['PEERS_SERVICE_PORT']}"),
        )
    ]


async def _register(site: Site) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        service = f"http://127.0.0.1:{site.environment['PEERS_SERVICE_PORT']}"
        answer = await client.post(
            f"{site.environment['PEERS_ADMIN_URL']}/deployments", json={"uri": service}
        )
        answer.raise_for_status()


async def _restate_left(site: Site) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(
            f"{site.environment['PEERS_ADMIN_URL']}/query",
            json={"query": "SELECT count(*) AS left FROM sys_invocation WHERE status <> 'completed'"},
            headers={"Accept": "application/json"},
        )
        answer.raise_for_status()
        return answer.json()["rows"][0]["left"]


def _restate_wanted() -> str | None:
    if restate_server() is None:
        return "not here: its server was not installed (`make bench` does, by bench/peers/package-lock.json)"
    tried = subprocess.run([*_WITHOUT_NAMES, "/dev/null", "true"], capture_output=True, check=False)
    if tried.returncode:
        return "not here: it can be kept from asking outside hosts only where user namespaces are allowed"
    return None


PEERS = (
    Peer("Celery", "celery", _celery, _celery_left),
    Peer("Dramatiq", "dramatiq", _dramatiq, _dramatiq_left),
    Peer("DBOS", "dbos", _dbos, _dbos_left),
    Peer("Restate", "restate", _restate, _restate_left, _restate_server, _register, wanted=_restate_wanted),
)
