"""Whatever is wrong: one readable message and exit 1, never a traceback (cli_case.Ran holds the latter)."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_case import ROOT, Herald

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        (("show", "nonsense"), {}, "'nonsense' is not a notification's id"),
        (("show", "0" * 32), {}, "404 notification_not_found"),
        (("list", "--after", "tomorrow"), {}, "'tomorrow' is not a time"),
        (("list",), {"HERALD_API_KEY": "hk_00000000_wrong"}, "401 api_key_invalid"),
        (("list",), {"HERALD_API_KEY": None}, "Set HERALD_API_KEY"),
        (("list",), {"HERALD_API_URL": NOBODY}, "cannot be reached"),
        (("list",), {"HERALD_API_URL": "nonsense"}, "HERALD_API_URL"),
        (("keys", "list"), {"HERALD_DATABASE_URL": "postgresql://127.0.0.1:9/x"}, "HERALD_DATABASE_URL"),
        (("keys", "create", "bad tenant!"), {}, "'bad tenant!' cannot be a tenant's name"),
        (("keys", "create", "shop "), {}, "'shop ' cannot be"),
        (("keys", "create", "shop\n"), {}, "cannot be a tenant's name"),
        (("keys", "create", ""), {}, "1 to 64 letters"),
        (("keys", "create", "x" * 65), {}, "1 to 64 letters"),
        (("keys", "create", "shöp"), {}, "A-Z, a-z"),
        (("keys", "create", "shop", "--name", "till\x1b[2J"), {}, "must be printable"),
        (("migrate",), {"HERALD_DATABASE_URL": "nonsense"}, "HERALD_DATABASE_URL"),
        (("replay", "0" * 32), {}, "HERALD_TEMPORAL__ADDRESS"),
        (("replay",), {}, "one of the two"),
        (("replay", "--file", "/nonexistent"), {}, "cannot be read"),
        (("replay", "--file", "-"), {}, "not a workflow's history"),
        (("worker", "--lanes", "fast"), {}, "critical, high, normal, bulk"),
        (("api",), {"HERALD_API_PORT": "http"}, "HERALD_API_PORT"),
        (("api",), {"HERALD_CONFIG": "/nonexistent"}, "HERALD_CONFIG"),
        (("id", "--tenant", "a", "--user", "b", "--type", "c", "--key", "d"), {"HERALD_SECRET_KEY": None},
         "HERALD_SECRET_KEY"),
    ],
)  # fmt: skip
async def test_one_message(
    run: Herald, arguments: tuple[str, ...], changes: dict[str, str | None], said: str
) -> None:
    ran = await run(*arguments, **changes)
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.startswith("herald: ")
    assert ran.out == ""


async def test_every_field_that_is_wrong_is_pointed_at(run: Herald) -> None:
    ran = await run(
        *("send", "--user", "ada", "--type", "price_alert", "-c", "fax", "--to", "+1", "--body", "x")
    )
    assert ran.code == 1
    assert "/channels/0: " in ran.err
    assert "/to/sms: " in ran.err


async def test_a_development_stack_is_used_and_named(
    run: Herald, environment: Mapping[str, str], tmp_path: Path
) -> None:
    described = {"api_url": environment["HERALD_API_URL"], "api_key": environment["HERALD_API_KEY"]}
    (tmp_path / "dev.json").write_text(json.dumps(described))
    bare = Herald({**environment, "HERALD_DATA_DIR": str(tmp_path)})
    ran = await bare("providers", HERALD_API_URL=None, HERALD_API_KEY=None)
    assert (ran.code, str(tmp_path / "dev.json") in ran.err) == (0, True)
    # Another API that is named must not be called with the stack's key.
    other = await bare("providers", HERALD_API_URL=NOBODY, HERALD_API_KEY=None)
    assert (other.code, "No API key" in other.err) == (1, True)


async def test_interrupting_is_quiet(environment: Mapping[str, str]) -> None:
    # A shell has what it runs in the background ignore interrupts, and children keep that: not this one.
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
    asked = await asyncio.wait_for(process.stdout.readuntil(b"[y/N]"), 30)
    # One that comes between the prompt and the reading may be lost: a person presses it again.
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
            break
    assert process.returncode in (1, 130)
    out, err = await process.communicate()
    assert b"Traceback" not in asked + out + err


async def test_help_names_every_command_and_starts_quickly(run: Herald) -> None:
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
    ):
        assert f"│ {name} " in shown
    heavy = ["pydantic", "httpx", "asyncpg", "fastapi", "temporalio", "aiohttp"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"import cli, sys; sys.exit(any(n in sys.modules for n in {heavy}))"),
        cwd=ROOT,
    )
    assert await process.wait() == 0
