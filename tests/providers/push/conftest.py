"""The simulated push vendors, and adapters built from their settings alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from contract import INSTALLATION
from push_options import options

from domain.ids import attempt_ref
from domain.notification import Content, Target
from providers.base import Message
from providers.push.apns import Apns
from providers.push.fcm import Fcm
from providers.settings import ApnsSettings, FcmSettings
from simulators import apns as apns_simulator
from simulators import fcm as fcm_simulator
from simulators.base import SimulatorContext
from simulators.server import Running, serve

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def push_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the vendors keep their keys: making them is slow, so once per session."""
    return tmp_path_factory.mktemp("push-keys")


@pytest_asyncio.fixture
async def vendors(push_keys: Path) -> AsyncIterator[Running]:
    """The simulators, with counters, tokens and faults of this test only."""
    async with serve(SimulatorContext("http://127.0.0.1:9", push_keys, apns_port=0)) as running:
        yield running


@pytest.fixture
def fcm_vendor(vendors: Running) -> fcm_simulator.Fcm:
    vendor = vendors.simulators["fcm"]
    assert isinstance(vendor, fcm_simulator.Fcm)
    return vendor


@pytest.fixture
def apns_vendor(vendors: Running) -> apns_simulator.Apns:
    vendor = vendors.simulators["apns"]
    assert isinstance(vendor, apns_simulator.Apns)
    return vendor


@pytest.fixture
def fcm_options(vendors: Running, fcm_vendor: fcm_simulator.Fcm) -> dict[str, Any]:
    return options(fcm_vendor.settings(vendors.url))


@pytest.fixture
def apns_options(vendors: Running, apns_vendor: apns_simulator.Apns) -> dict[str, Any]:
    return options(apns_vendor.settings(vendors.url))


@pytest_asyncio.fixture
async def fcm(fcm_options: dict[str, Any]) -> AsyncIterator[Fcm]:
    adapter = Fcm(FcmSettings(**fcm_options), INSTALLATION)
    yield adapter
    await adapter.aclose()


@pytest_asyncio.fixture
async def apns(apns_options: dict[str, Any]) -> AsyncIterator[Apns]:
    adapter = Apns(ApnsSettings(**apns_options), INSTALLATION)
    yield adapter
    await adapter.aclose()


@pytest.fixture
def a_message() -> Callable[..., Message]:
    """Makes messages; each belongs to another delivery unless its `attempt_ref` is given."""

    def make(to: str | None = None, **changes: Any) -> Message:
        now = datetime.now(UTC)
        message = Message(
            attempt_ref=attempt_ref(uuid4(), 1),
            target=Target(to or f"device-{next(_numbers)}", "phone"),
            content=Content("₦5,000 left your account", "Debit"),
            type="debit_alert",
            expires_at=now + timedelta(hours=1),
            intended_at=now,
        )
        return replace(message, **changes)

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Any]:
    """Waits for a condition, at most 5 s."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 (the vendor's state has no event to wait for)
                await asyncio.sleep(0.005)

    return wait
