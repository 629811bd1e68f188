"""Run the `herald` command as users do: as a separate process, with an API process and real stores."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from console_case import ROOT, Herald, WorkerActions

from devstack.ports import free_port
from devstack.process import Part, Process
from storage import api_keys
from storage.ledger import Ledger
from storage.postgres import Pool

SECRET = "tests-secret-8c1f6be2d40a97e35b12"


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """The process that runs the commands of this session's tests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = (sys.executable, Path(__file__).with_name("fork_server.py"))
    with ours, subprocess.Popen(command, stdin=theirs):
        theirs.close()
        Herald.server = ours
        yield
        # It ends once this end is closed, and Popen waits for that.
        ours.close()


@pytest_asyncio.fixture(scope="module")
async def workers(pool: Pool) -> AsyncIterator[WorkerActions]:
    """The changes that workers make to notifications."""
    ledger = Ledger(pool)
    yield WorkerActions(ledger)
    await ledger.close(timeout_s=5)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment without Herald's settings and without a development stack."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    return kept | {"HERALD_DATA_DIR": str(tmp_path_factory.mktemp("nothing"))}


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """What a module's installation sets besides; a module may define its own."""
    return {}


@pytest_asyncio.fixture(scope="module")
async def environment(
    bare: Mapping[str, str], settings: Mapping[str, str], database: str, pool: Pool, server_dir: Path
) -> AsyncIterator[Mapping[str, str]]:
    """The environment of an installation whose API runs; Valkey and Temporal are unreachable."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **bare,
        "HERALD_DATABASE_URL": database,
        "HERALD_SECRET_KEY": SECRET,
        "HERALD_DEVELOPMENT": "true",
        "HERALD_API_HOST": "127.0.0.1",
        "HERALD_API_PORT": str(port),
        "HERALD_API_URL": url,
        "HERALD_API_KEY": await api_keys.create(pool, "bank", "tests"),
        "HERALD_TEMPORAL__ADDRESS": f"127.0.0.1:{free_port()}",
        "HERALD_VALKEY_URL": f"redis://127.0.0.1:{free_port()}/0",
        "HERALD_PROVIDERS__TWILIO__ACCOUNT_SID": "AC" + "0" * 32,
        "HERALD_PROVIDERS__TWILIO__AUTH_TOKEN": "tests-token-5f20",
        "HERALD_PROVIDERS__TWILIO__FROM": "+15005550006",
        **settings,
    }

    async def answers(_: Process) -> bool:
        try:
            return (await client.get(f"{url}/healthz")).is_success
        except httpx.TransportError:
            return False

    command = (sys.executable, "-m", "cli", "api")
    process = Process(
        Part(name="api", command=command, ready=answers, cwd=ROOT, env=environment), server_dir / "logs"
    )
    async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
        await process.start()
    yield environment
    await process.stop()


@pytest.fixture
def run(environment: Mapping[str, str]) -> Herald:
    """The command in that environment: `ran = await run("list", "--status", "sent")`."""
    return Herald(environment)
