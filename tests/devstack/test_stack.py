"""The stack restarts its parts, keeps its data, describes itself in dev.json, and leaves nothing running."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio
from stack_stores import idle
from temporal_sample import Patient
from temporalio.client import Client

from devstack import herald
from devstack.errors import DevStackError
from devstack.ports import Ports
from devstack.postgres import Postgres
from devstack.process import Part
from devstack.stack import Stack
from devstack.temporal import Temporal
from domain.key_format import split
from storage import api_keys

# Without settings of a real installation on this machine.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
PIDS = {"temporal", "postgres", "valkey", "simulators", "api", "callbacks", "worker", "worker_critical"}
KEYS = {
    *(
        "api_url",
        "api_key",
        "operator_key",
        "temporal_address",
        "temporal_ui_url",
        "database_url",
        "valkey_url",
    ),
    *("simulators_url", "apns_url", "pids"),
}


def stack(data_dir: Path, ports: Ports | None = None, **options: Any) -> Stack:
    given: dict[str, Any] = {"simulators": False, "application": idle, **options}
    return Stack(data_dir, ports or Ports.free(), given.pop("environment", ENVIRONMENT), **given)


def description_in(data_dir: Path) -> dict[str, Any]:
    return json.loads((data_dir / "dev.json").read_text())


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        await asyncio.sleep(0.02)


async def write(database_url: str, valkey_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('still here')")
    await connection.close()
    async with redis.asyncio.from_url(valkey_url, decode_responses=True) as client:
        await client.set("kept", "still here")


async def read(database_url: str, valkey_url: str) -> tuple[str | None, str | None]:
    connection = await asyncpg.connect(database_url)
    try:
        word = await connection.fetchval("SELECT word FROM kept")
    except asyncpg.UndefinedTableError:
        word = None
    finally:
        await connection.close()
    async with redis.asyncio.from_url(valkey_url, decode_responses=True) as client:
        return word, await client.get("kept")


async def test_a_killed_part_restarts_and_keeps_its_data(tmp_path: Path) -> None:
    lines: list[str] = []
    async with stack(tmp_path, say=lines.append) as running:
        before = description_in(tmp_path)
        assert before == running.description
        assert before.keys() == KEYS
        assert before["pids"].keys() == PIDS
        assert (tmp_path / "dev.json").stat().st_mode & 0o077 == 0
        await write(before["database_url"], before["valkey_url"])

        lines.clear()
        parts = ("temporal", "postgres", "valkey", "worker")
        for name in parts:
            os.kill(before["pids"][name], signal.SIGKILL)
        await until(
            lambda: all(description_in(tmp_path)["pids"][n] not in (None, before["pids"][n]) for n in parts)
        )
        await until(lambda: len(lines) == len(parts))

        after = description_in(tmp_path)
        assert {**after, "pids": None} == {**before, "pids": None}
        assert sorted(line.split()[0] for line in lines) == sorted(parts)
        assert await read(after["database_url"], after["valkey_url"]) == ("still here", "still here")
        await Client.connect(after["temporal_address"])
    assert not (tmp_path / "dev.json").exists()
    assert not alive(after["pids"].values())


async def test_data_survives_a_restart_and_fresh_deletes_it(tmp_path: Path) -> None:
    ports = Ports.free()
    async with stack(tmp_path, ports):
        first = description_in(tmp_path)
        await write(first["database_url"], first["valkey_url"])
        client = await Client.connect(first["temporal_address"])
        await client.start_workflow(Patient.run, 0.0, id="patient", task_queue="patience")
    async with stack(tmp_path, ports) as running:
        second = description_in(tmp_path)
        assert {**second, "pids": None} == {**first, "pids": None}
        assert await read(second["database_url"], second["valkey_url"]) == ("still here", "still here")
        client = await Client.connect(second["temporal_address"])
        assert (await client.get_workflow_handle("patient").describe()).id == "patient"
        kept_secret = running.environment["HERALD_SECRET_KEY"]
    async with stack(tmp_path, ports, fresh=True) as running:
        third = description_in(tmp_path)
        assert await read(third["database_url"], third["valkey_url"]) == (None, None)
        assert third["api_key"] != first["api_key"]
        assert running.environment["HERALD_SECRET_KEY"] != kept_secret


async def test_a_stopped_part_stays_stopped_until_resumed(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        await running.stop("valkey")
        assert description_in(tmp_path)["pids"]["valkey"] is None
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", running.ports.valkey)
        await running.resume("valkey")
        assert alive([description_in(tmp_path)["pids"]["valkey"]])

        with pytest.raises(DevStackError, match="is in use by another stack"):
            await stack(tmp_path).__aenter__()
        with pytest.raises(DevStackError, match=rf"Port {running.ports.postgres} \(postgres\) is taken"):
            await stack(tmp_path / "other", running.ports).__aenter__()


async def test_configured_stores_are_used(
    tmp_path: Path, postgres: Postgres, valkey: str, temporal: Temporal
) -> None:
    await postgres.ensure_database("outside")
    outside = {
        "HERALD_DATABASE_URL": postgres.url("outside"),
        "HERALD_VALKEY_URL": valkey,
        "HERALD_TEMPORAL__ADDRESS": temporal.address,
    }
    async with stack(tmp_path, environment={**ENVIRONMENT, **outside}) as running:
        description = description_in(tmp_path)
        assert {name for name, pid in description["pids"].items() if pid} == {"worker"}
        assert description["database_url"] == postgres.url("outside")
        assert description["valkey_url"] == valkey
        assert description["temporal_address"] == temporal.address
        pool = await asyncpg.create_pool(postgres.url("outside"), min_size=1, max_size=1)
        for key, tenant in ((running.api_key, "dev"), (running.operator_key, None)):
            parts = split(key)
            assert parts
            found = await api_keys.lookup(pool, parts[0])
            assert found
            assert (found.caller.tenant, found.digest) == (tenant, parts[1])
        await pool.close()


async def test_simulators_replace_all_real_vendors(
    tmp_path: Path, postgres: Postgres, valkey: str, temporal: Temporal
) -> None:
    outside = {
        "HERALD_DATABASE_URL": postgres.url("outside"),
        "HERALD_VALKEY_URL": valkey,
        "HERALD_TEMPORAL__ADDRESS": temporal.address,
        "HERALD_PROVIDERS__TWILIO__BASE_URL": "http://vendor.invalid",
        "HERALD_PROVIDERS__GONE__API_KEY": "of a real account",
    }
    await postgres.ensure_database("outside")
    async with stack(tmp_path, environment={**ENVIRONMENT, **outside}, simulators=True) as running:
        description = description_in(tmp_path)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{description['simulators_url']}/control/settings")
        settings = answer.json()["settings"]
        assert description["pids"]["simulators"]
        assert description["apns_url"] == settings["HERALD_PROVIDERS__APNS__BASE_URL"]
        given = {n: v for n, v in running.environment.items() if n.startswith("HERALD_PROVIDERS__")}
        assert given == settings
        assert running.environment["HERALD_PUBLIC_URL"] == running.ports.callbacks_url

        os.kill(description["pids"]["simulators"], signal.SIGKILL)
        await until(lambda: description_in(tmp_path)["pids"] != description["pids"])
        assert await herald.simulator_settings(description["simulators_url"]) == settings


async def test_a_part_that_cannot_start_stops_the_stack(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def broken(api_url: str, environment: Any) -> list[Part]:
        part = idle(api_url, environment)[0]
        seen.update((path.name, 0) for path in (tmp_path / "logs").iterdir())
        return [
            Part(
                name="api", command=("python3", "-c", "exit('it is broken')"), ready=part.ready, cwd=tmp_path
            )
        ]

    with pytest.raises(DevStackError, match=r"(?s)api ended with exit code 1 while starting.*it is broken"):
        await stack(tmp_path, application=broken).__aenter__()
    assert seen.keys() == {"postgres.log", "temporal.log", "valkey.log"}
    assert not running_below(tmp_path)


def alive(pids: Any) -> list[int]:
    return [pid for pid in pids if pid and Path(f"/proc/{pid}").exists()]


def running_below(directory: Path) -> list[Path]:
    found: list[Path] = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if cwd.readlink().is_relative_to(directory):
                found.append(cwd)
    return found
