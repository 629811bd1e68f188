"""The demo's scenarios, run once per session on one stack with the demo's configuration."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import demo
from devstack.ports import Ports
from devstack.scenarios.case import StackClients
from devstack.scenarios.registry import SCENARIOS
from devstack.scenarios.runner import run_all
from devstack.scenarios.scenario import Result
from devstack.stack import Stack


@pytest_asyncio.fixture(scope="session")
async def results(request: pytest.FixtureRequest, server_dir: Path) -> AsyncIterator[Mapping[int, Result]]:
    """The results of the scenarios that this session's tests need, by number."""
    needed = {
        item.callspec.params["scenario"].number
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        if "scenario" in item.callspec.params
    }
    selected = [scenario for scenario in SCENARIOS if scenario.number in needed]
    async with (
        Stack(server_dir / "scenarios", Ports.free(), demo.environment()) as stack,
        StackClients.connect(stack) as clients,
    ):
        yield await run_all(clients, selected, lambda scenario, result: None)
