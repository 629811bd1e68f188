"""Every error prints one readable message and exits 1, without a traceback (checked by CompletedCommand)."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from console_case import ROOT, Herald

from storage import api_keys
from storage.postgres import Pool

UNREACHABLE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("show", "nonsense"), {}, "'nonsense' is not a notification id"),
        (("show", "0" * 32), {},
         f"(404 notification_not_found, GET /v1/notifications/{UUID(int=0)})\n`herald list`"),
        (("list", "--after", "tomorrow"), {}, "'tomorrow' is not a time"),
        (("list",), {"HERALD_API_KEY": "hk_00000000_wrong"}, "401 api_key_invalid"),
        (("list",), {"HERALD_API_KEY": None}, "Set HERALD_API_KEY"),
        (("list",), {"HERALD_API_URL": UNREACHABLE}, "cannot be reached"),
        (("list",), {"HERALD_API_URL": "nonsense"}, "HERALD_API_URL"),
        (("list",), {"HERALD_API_KEY": "schlüssel"}, "characters other than ASCII"),
        (("list",), {"HERALD_API_KEY": "hk_live_0a1b2c3d_cut"}, "401 api_key_mistyped"),
        (("list",), {"HERALD_TENANT": "shop"}, "403 tenant_differs, GET /v1/notifications)\nUnset HERALD_T"),
        (("providers", "drain", "nosuch"), {}, "403 installation_key_needed, PATCH /v1/providers/nosuch"),
        (("keys", "list"), {"HERALD_DATABASE_URL": "postgresql://127.0.0.1:9/x"}, "HERALD_DATABASE_URL"),
        (("keys", "list"), {"HERALD_DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/x"},
         "The database at 127.0.0.1:9/x cannot be used"),
        (("keys", "revoke", "nosuch"), {}, "There is no active key with the prefix nosuch"),
        (("keys", "create"), {}, "Name the tenant of the key, or use --installation"),
        (("keys", "create", "shop", "--installation"), {}, "and not both"),
        (("keys", "create", "--installation", "--test"), {}, "A test key belongs to a tenant"),
        (("keys", "create", "shop", "--expires", "soon"), {}, "'soon' is not a time"),
        (("keys", "create", "shop", "--expires", "9999999d"), {}, "'9999999d' is not a time"),
        (("keys", "create", "shop", "--expires", "2020-01-01T00:00:00Z"), {}, "has passed"),
        (("keys", "create", "test:shop"), {}, "'test:shop' is not a valid tenant name"),
        (("keys", "create", "bad tenant!"), {}, "'bad tenant!' is not a valid tenant name"),
        (("keys", "create", "shop "), {}, "'shop ' is not a valid"),
        (("keys", "create", "shop\n"), {}, "is not a valid tenant name"),
        (("keys", "create", ""), {}, "1 to 64 letters"),
        (("keys", "create", "x" * 65), {}, "1 to 64 letters"),
        (("keys", "create", "shöp"), {}, "A-Z, a-z"),
        (("keys", "create", "shop", "--name", "till\x1b[2J"), {}, "printable characters only"),
        (("migrate",), {"HERALD_DATABASE_URL": "nonsense"}, "HERALD_DATABASE_URL"),
        (("replay", "0" * 32), {}, "HERALD_TEMPORAL__ADDRESS"),
        (("replay",), {}, "either a notification id or --file"),
        (("replay", "--file", "/nonexistent"), {}, "cannot be read"),
        (("replay", "--file", "-"), {}, "not a workflow history"),
        (("worker", "--lanes", "fast"), {}, "critical, high, normal, bulk"),
        (("api",), {"HERALD_API_PORT": "http"}, "HERALD_API_PORT"),
        (("api",), {"HERALD_CONFIG": "/nonexistent"}, "HERALD_CONFIG"),
        (("id", "--tenant", "a", "--user", "b", "--type", "c", "--key", "d"), {"HERALD_SECRET_KEY": None},
         "HERALD_SECRET_KEY"),
    ],
)  # fmt: skip
async def test_one_message(
    run: Herald, arguments: tuple[str, ...], changes: dict[str, str | None], message: str
) -> None:
    ran = await run(*arguments, **changes)
    assert ran.code == 1
    assert message in ran.err
    assert ran.err.startswith("herald: ")
    assert ran.out == ""


async def test_wrong_addresses_of_the_api_are_explained(
    run: Herald, environment: Mapping[str, str], database: str
) -> None:
    below = await run("list", HERALD_API_URL=f"{environment['HERALD_API_URL']}/v1")
    assert "Check HERALD_API_URL" in below.err
    other = await run("list", HERALD_API_URL=f"http://{urlsplit(database).netloc.rpartition('@')[2]}")
    assert "does not respond like an HTTP server" in other.err


async def test_a_port_that_is_in_use_is_named(run: Herald, environment: Mapping[str, str]) -> None:
    ran = await run("api")
    assert ran.code == 1
    assert f"did not start on 127.0.0.1:{environment['HERALD_API_PORT']}" in ran.err
    assert "set HERALD_API_PORT" in ran.err


async def test_every_invalid_field_is_named(run: Herald) -> None:
    ran = await run(
        *("send", "--user", "ada", "--type", "price_alert", "-c", "fax", "--to", "+1", "--body", "x")
    )
    assert ran.code == 1
    assert "/channels/0: " in ran.err
    assert "/to/sms: " in ran.err


async def test_a_running_development_stack_is_used_and_named(
    run: Herald, environment: Mapping[str, str], tmp_path: Path, pool: Pool
) -> None:
    described = {"api_url": environment["HERALD_API_URL"], "api_key": environment["HERALD_API_KEY"]}
    described["operator_key"] = await api_keys.create(pool, None, "operator")
    (tmp_path / "dev.json").write_text(json.dumps(described))
    bare = Herald({**environment, "HERALD_DATA_DIR": str(tmp_path)})
    ran = await bare("providers", HERALD_API_URL=None, HERALD_API_KEY=None)
    assert (ran.code, str(tmp_path / "dev.json") in ran.err) == (0, True)
    # The stack's key must not go to another API.
    other = await bare("providers", HERALD_API_URL=UNREACHABLE, HERALD_API_KEY=None)
    assert (other.code, "No API key" in other.err) == (1, True)


async def test_interrupting_is_quiet(environment: Mapping[str, str]) -> None:
    # A shell makes background processes ignore SIGINT, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "dlq", "discard", "0" * 32),
        cwd=ROOT,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    prompt = await asyncio.wait_for(process.stdout.readuntil(b"[y/N]"), 30)
    # A signal between the prompt and the read may be lost: send it again.
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
            break
    assert process.returncode in (1, 130)
    out, err = await process.communicate()
    assert b"Traceback" not in prompt + out + err


async def test_help_lists_every_command_and_imports_no_heavy_library(run: Herald) -> None:
    shown = (await run("--help")).out
    for name in (
        "dev",
        "migrate",
        "api",
        "worker",
        "keys",
        "send",
        "show",
        "list",
        "stuck",
        "dlq",
        "providers",
        "doctor",
    ):
        assert f"│ {name} " in shown
    heavy = ["pydantic", "httpx", "asyncpg", "fastapi", "temporalio", "aiohttp"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"import cli, sys; sys.exit(any(n in sys.modules for n in {heavy}))"),
        cwd=ROOT,
    )
    assert await process.wait() == 0
