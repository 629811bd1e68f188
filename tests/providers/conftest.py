"""All vendors' simulators, the adapters wired to them by the settings, and the contract suite's cases."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from contract import CASES, EMPTY_CATALOG, Case, Vendors, listening, settings_from

from providers import registry
from providers.base import Provider
from simulators.base import SimulatorContext
from simulators.control import Simulators
from simulators.server import serve


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In the contract suite `case` runs over every provider; no test leaves one out."""
    if "case" in metafunc.fixturenames and metafunc.module.__name__.startswith("test_contract"):
        metafunc.parametrize("case", CASES.values(), ids=lambda case: case.name)


@pytest_asyncio.fixture(scope="session")
async def vendors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vendors]:
    """Every simulator, control client, callback listener and adapter, once per session."""
    state_dir = tmp_path_factory.mktemp("simulators")
    async with listening() as listener:
        context = SimulatorContext(f"{listener.url}/v1/callbacks", state_dir, apns_port=0, smtp_port=0)
        async with serve(context) as running:
            simulators = Simulators(running.url)
            variables = await simulators.settings()
            providers = registry.build(settings_from(variables), EMPTY_CATALOG, listener.url)
            yield Vendors(simulators, providers, listener, variables)
            for provider in providers.values():
                await provider.aclose()
            await simulators.aclose()


@pytest.fixture
def provider(vendors: Vendors, case: Case) -> Provider:
    """The adapter under test."""
    return vendors.providers[case.name]
