"""The demo reports results by its table and exit code, and its histories can be opened afterwards."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import httpx
import pytest

from devstack import demo
from devstack.ports import Ports
from devstack.stack import Stack

ROOT = Path(__file__).parents[2]
RUN_S_MAX = 120.0


@pytest.mark.stack
async def test_a_failure_is_reported_and_the_histories_stay(server_dir: Path) -> None:
    data_dir = server_dir / "small demo"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("small_demo.py")), str(data_dir)),
        cwd=ROOT,
        env={**demo.environment(), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await asyncio.wait_for(process.communicate(), RUN_S_MAX))[0].decode()
    assert process.returncode == 1, output
    assert "1 of 2 scenarios passed" in output
    assert "2 failed: received twilio 1, expected twilio 2" in output
    (command,) = re.findall(r"start it again with: (.*)", output)
    program, *arguments = shlex.split(command)
    assert (ROOT / program).resolve() == Path(sys.executable).with_name("herald").resolve()
    assert arguments == ["dev", "--data-dir", str(data_dir)]
    assert not (data_dir / "dev.json").exists()

    links = re.findall(rf"http://127\.0\.0\.1:{Ports().temporal_ui}(/namespaces/\S+)", output)
    assert len(links) == 2
    async with Stack(data_dir, Ports.free(), demo.environment()) as stack:
        description = stack.description
        nice = {
            name: os.getpriority(os.PRIO_PROCESS, pid) - os.nice(0)
            for name, pid in description["pids"].items()
        }
        assert {name for name, value in nice.items() if value} == {"callbacks", "worker"}
        async with httpx.AsyncClient(base_url=description["temporal_ui_url"], trust_env=False) as ui:
            for link in links:
                history = await ui.get(f"/api/v1{link}/history")
                assert history.is_success
                assert "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED" in history.text
        headers = {"Authorization": f"Bearer {description['api_key']}"}
        async with httpx.AsyncClient(
            base_url=description["api_url"], headers=headers, trust_env=False
        ) as api:
            for link in links:
                shown = await api.get(f"/v1/notifications/{link.rpartition('ntf-')[2]}")
                assert shown.json()["status"] == "delivered"
