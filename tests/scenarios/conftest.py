"""The scenarios of the demo, played once a session on one stack with the demo's own configuration."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import demo
from devstack.ports import Ports
from devstack.scenarios.case import Stage
from devstack.scenarios.play import play_all
from devstack.scenarios.registry import SCENARIOS
from devstack.scenarios.scenario import Result
from devstack.stack import Stack


@pytest_asyncio.fixture(scope="session")
async def results(request: pytest.FixtureRequest, server_dir: Path) -> AsyncIterator[Mapping[int, Result]]:
    """What came of each scenario that a test of this session asks for, by number."""
    asked = {
        item.callspec.params["scenario"].number
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        if "scenario" in item.callspec.params
    }
    wanted = [scenario for scenario in SCENARIOS if scenario.number in asked]
    async with (
        Stack(server_dir / "scenarios", Ports.free(), demo.environment()) as stack,
        Stage.on(stack) as stage,
    ):
        yield await play_all(stage, wanted, lambda scenario, result: None)
