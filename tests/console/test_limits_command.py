"""`herald limits show`, and a start that needs a decision about SMS."""

import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from console_case import ROOT, Herald

from devstack.ports import free_port
from devstack.process import Part, Process

NUMBER = "+2348031236789"
CONFIG = """
[types.otp]
lane = "critical"
limits = [{ channel = "sms", max = 5, per_s = 3600 }]
[providers.twilio.prices]
currency = "USD"
per_segment = 0.05
[sms]
countries = ["NG"]
spend = [{ by = ["tenant", "country"], max = 20, currency = "USD" }]
"""


@pytest_asyncio.fixture
async def limited(environment: Mapping[str, str], valkey: str, tmp_path: Path) -> AsyncIterator[Herald]:
    """The command with another API, whose store is up."""
    port, config = free_port(), tmp_path / "herald.toml"
    config.write_text(CONFIG, encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    own = {
        **environment,
        "HERALD_API_PORT": str(port),
        "HERALD_API_URL": url,
        "HERALD_VALKEY_URL": valkey,
        "HERALD_CONFIG": str(config),
    }

    async def answers(_: Process) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
                return (await client.get(f"{url}/healthz")).is_success
        except httpx.TransportError:
            return False

    command = (sys.executable, "-m", "cli", "api")
    process = Process(
        Part(name="limited", command=command, ready=answers, cwd=ROOT, env=own), tmp_path / "logs"
    )
    await process.start()
    yield Herald(own)
    await process.stop()


async def test_limits_and_caps_are_shown_with_what_is_counted(limited: Herald) -> None:
    ran = await limited("limits", "show", "--number", NUMBER, "--user", "ada")
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines() if line.strip()]
    assert rows[1] == ["user", "ada", "otp", "5", "1", "h", "drop", "0", "now"]
    expected = "tenant and address bank/+234•••••6789 lane critical 10 1 h drop 0 now"
    assert rows[2] == expected.split()
    assert NUMBER not in ran.out
    assert rows[-1] == ["tenant", "and", "country", "bank/NG", "20", "USD", "drop", "0", "(0%)"]
    shown = (await limited("limits", "show", "--json")).json
    assert [cap["of"] for cap in shown["spend"]] == ["bank/NG"]


async def test_a_channel_without_limits_says_so(limited: Herald) -> None:
    ran = await limited("limits", "show", "--channel", "push")
    assert (ran.code, ran.out) == (0, "No limit on push applies to these. Name a --number or a --user.\n")


async def test_a_store_that_is_down_is_reported(run: Herald) -> None:
    ran = await run("limits", "show", "--number", NUMBER)
    assert ran.code == 1
    assert "The store of the limits cannot be reached" in ran.err
    assert "/readyz" in ran.err


@pytest.mark.parametrize("command", [("api",), ("worker", "--lanes", "critical")])
async def test_a_start_with_an_sms_provider_needs_the_countries(
    run: Herald, command: tuple[str, ...]
) -> None:
    ran = await run(*command, HERALD_DEVELOPMENT=None)
    assert ran.code == 1
    assert "[sms] countries is not set, and twilio would send SMS anywhere" in ran.err
    assert 'countries = ["NG", "GH"]' in ran.err
