"""No secret appears in a log, a traceback, a metric, a command line or a `repr`, however badly things go."""

import ast
import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
import redis.asyncio
from settings_case import ALL, SECRETS, is_required, strong, value

from api import app
from devstack.ports import free_port
from devstack.process import Process
from devstack.scenarios.waiting import until
from devstack.valkey import Valkey
from domain.notification import Lane
from settings import load
from simulators.sendgrid import PUBLIC_KEY
from storage import api_keys
from storage.postgres import Pool
from telemetry.metrics import Metrics
from wiring.activities import activities_of
from wiring.parts import opened

ROOT = Path(__file__).parents[2]
PROVIDERS = "HERALD_PROVIDERS__"
PATIENCE_S = 120.0
WITHOUT_SECRETS = ("FCM", "APNS", "WEBPUSH")
"""Their keys are in files that only they read."""


def canaries() -> dict[str, str]:
    """The secret in every secret setting."""
    found = {name: strong(name) for name in SECRETS}
    for name in found:
        if "RESEND__WEBHOOK_SECRET" in name:
            found[name] = base64.b64encode(strong(name).encode()).decode()
    return found


CANARIES = canaries()


def environment(database: str, valkey_port: int) -> dict[str, str]:
    """Every secret setting with its canary, every vendor on a port where nothing listens."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    given = {name: value(name).replace(strong(name), CANARIES[name]) for name in SECRETS}
    for name in ALL:
        if name.startswith(PROVIDERS) and not name.removeprefix(PROVIDERS).startswith(WITHOUT_SECRETS):
            if name.endswith("__BASE_URL"):
                given[name] = "smtps://127.0.0.1:9" if "SMTP" in name else nowhere
            elif name not in SECRETS and is_required(name):
                given[name] = "a@herald.example"
            elif "PUBLIC_KEY" in name:
                given[name] = PUBLIC_KEY
    given["HERALD_PROVIDERS__SENDGRID__WEBHOOK_PUBLIC_KEY"] = PUBLIC_KEY
    given["HERALD_PROVIDERS__SMTP__USERNAME"] = "herald"
    given["HERALD_ROUTES__SMS"] = "twilio,termii,africastalking"
    given["HERALD_ROUTES__EMAIL"] = "sendgrid,mailgun,resend,smtp"
    given["HERALD_LOG_LEVEL"] = "DEBUG"
    where = urlsplit(database)
    password = CANARIES["HERALD_DATABASE_URL"]
    given["HERALD_DATABASE_URL"] = f"postgresql://herald:{password}@127.0.0.1:{where.port}{where.path}"
    given["HERALD_VALKEY_URL"] = f"redis://:{CANARIES['HERALD_VALKEY_URL']}@127.0.0.1:{valkey_port}/0"
    given["HERALD_TEMPORAL__ADDRESS"] = f"127.0.0.1:{free_port()}"
    others = {name: text for name, text in os.environ.items() if not name.startswith("HERALD_")}
    return {**others, **given}


def seen_in(text: str) -> list[str]:
    return [name for name, secret in CANARIES.items() if secret in text]


def command_lines() -> dict[str, str]:
    """The command line of every process of this machine that can be read, by its id."""
    found: dict[str, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if line := (entry / "cmdline").read_text():
                found[entry.name] = line
    return found


class Seen:
    """The output and the command lines of the processes that were run."""

    def __init__(self) -> None:
        self.output: dict[str, str] = {}
        self.command_lines: dict[str, str] = {}

    @asynccontextmanager
    async def running(
        self, name: str, given: Mapping[str, str], *arguments: str
    ) -> AsyncGenerator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *arguments),
            cwd=ROOT,
            env=dict(given),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        read = asyncio.create_task(self._read(name, process))
        try:
            yield process
        finally:
            self.command_lines |= {f"{pid} beside {name}": line for pid, line in command_lines().items()}
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await read
            await process.wait()

    async def ran(self, name: str, given: Mapping[str, str], *arguments: str) -> int:
        """Run a command to its end; returns its exit code."""
        async with self.running(name, given, *arguments) as process:
            async with asyncio.timeout(PATIENCE_S):
                return await process.wait()

    async def says(self, name: str, text: str) -> None:
        async def said() -> bool:
            return text in self.output.get(name, "")

        await until(f"{name} says {text}", said, bool, PATIENCE_S)

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            self.output[name] = self.output.get(name, "") + line.decode(errors="replace")


@pytest_asyncio.fixture(scope="module")
async def given(database: str, server_dir: Path) -> AsyncIterator[dict[str, str]]:
    """The environment, with a Valkey that asks for its canary."""
    server = Valkey(server_dir / "valkey-locked", free_port())
    process = Process(server.part(), server_dir / "logs")
    await process.start()
    async with redis.asyncio.from_url(server.url()) as client:
        await client.config_set("requirepass", CANARIES["HERALD_VALKEY_URL"])
    config = server_dir / "herald.toml"
    opened_to = (
        (ROOT / "herald.toml").read_text(encoding="utf-8").replace("[sms]", '[sms]\ncountries = "all"')
    )
    config.write_text(opened_to, encoding="utf-8")
    yield {**environment(database, server.port), "HERALD_CONFIG": str(config)}
    await process.stop()


async def test_processes_in_trouble_show_no_secret(given: dict[str, str], pool: Pool, temporal: Any) -> None:
    seen, port, metrics_port = Seen(), free_port(), free_port()
    api = {**given, "HERALD_API_PORT": str(port), "HERALD_API_URL": f"http://127.0.0.1:{port}"}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(seen.running("api", api, "api"))
        await stack.enter_async_context(seen.running("waiting worker", given, "worker"))
        there = {**given, "HERALD_TEMPORAL__ADDRESS": temporal.address, "HERALD_TEMPORAL__API_KEY": ""}
        there["HERALD_METRICS_PORT"] = str(metrics_port)
        await stack.enter_async_context(seen.running("worker", there, "worker"))
        await seen.says("waiting worker", "temporal_unreachable")
        await seen.says("worker", "worker_ready")
        async with httpx.AsyncClient(base_url=api["HERALD_API_URL"], trust_env=False, timeout=30) as client:
            await until("the API answers", partial(_answers, client), bool, PATIENCE_S)
            pages = await _use(client, await api_keys.create(pool, "bank", "tests"))
            await until("every provider was tried", partial(_tried, pool), bool, PATIENCE_S)
        pages["metrics"] = await _page(f"http://127.0.0.1:{metrics_port}/metrics")
        assert await seen.ran("second API on the port", api, "api") == 1
        assert await seen.ran("list with a wrong key", api, "list") == 1
        assert await seen.ran("doctor", api, "doctor", "--json") == 1
    away = {**given, "HERALD_DATABASE_URL": elsewhere(given["HERALD_DATABASE_URL"])}
    assert await seen.ran("migrate without a database", away, "migrate") == 1
    assert await seen.ran("keys without a database", away, "keys", "list") == 1
    twice = {**given, "HERALD_SECRET_KEY_FILE": "/dev/null"}
    assert await seen.ran("a setting given twice", twice, "worker") == 1
    broken = {**given, "HERALD_FINGERPRINT_KEYS": CANARIES["HERALD_FINGERPRINT_KEYS"]}
    assert await seen.ran("a setting that is no JSON", broken, "worker") == 1
    in_use = {**there, "HERALD_METRICS_HOST": "nowhere.invalid"}
    assert await seen.ran("a worker that crashes", in_use, "worker") == 1
    assert "Traceback" in seen.output["a worker that crashes"]
    for places in (pages, seen.output, seen.command_lines):
        assert all(places.values())
        assert {name: found for name, text in places.items() if (found := seen_in(text))} == {}


def elsewhere(url: str) -> str:
    """The URL, at a port where nothing listens."""
    return re.sub(r"@[^/]+/", f"@127.0.0.1:{free_port()}/", url)


async def _use(client: httpx.AsyncClient, key: str) -> dict[str, str]:
    """Submit over every vendor, and forge a callback; returns what the API shows."""
    for channel, to in (
        ("sms", "+2348031230001"),
        ("email", "ada@example.com"),
        ("whatsapp", "+2348031230002"),
    ):
        body = {"user_id": "u", "type": "otp", "channels": [channel], "to": {channel: to}}
        body |= {"content": {"body": "Your code is 123456"}, "idempotency_key": channel}
        headers = {"Authorization": f"Bearer {key}"}
        answer = await client.post("/v1/notifications", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
    forged = await client.post("/v1/callbacks/termii", content=b"{}", headers={"X-Termii-Signature": "x"})
    assert forged.status_code in (400, 401, 403)
    return {page: (await client.get(page)).text for page in ("/readyz", "/metrics", "/openapi.json")}


async def _page(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return (await client.get(url)).text


async def _tried(pool: Pool) -> bool:
    """Whether every vendor of the routes was called, in vain."""
    tried = await pool.fetch("SELECT DISTINCT provider FROM notification_attempts WHERE outcome IS NOT NULL")
    vendors = {"twilio", "termii", "africastalking", "sendgrid", "mailgun", "resend", "whatsapp_cloud"}
    return vendors <= {row["provider"] for row in tried}


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).is_success
    except httpx.HTTPError:
        return False


def shown(part: object, depth: int = 4) -> str:
    """The `repr` of a part and of what it holds."""
    texts = [repr(part)]
    if depth:
        # A part's own values may be in clear; what it shows of the objects that it holds may not.
        held = vars(part).values() if hasattr(part, "__dict__") else ()
        slots = [getattr(part, name, None) for name in getattr(type(part), "__slots__", ())]
        for inner in (*held, *slots):
            if type(inner).__module__.split(".")[0] in OURS:
                texts.append(shown(inner, depth - 1))
    return "\n".join(texts)


OURS = {"api", "delivery", "dispatcher", "domain", "providers", "ratelimit", "settings", "storage", "wiring"}


async def test_no_part_shows_a_secret(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    settings = load()
    assert seen_in(f"{settings!r} {settings}") == []
    # The canaries are there: in clear, where they are asked for.
    assert seen_in(json.dumps(settings.fingerprint_secrets) + settings.database_dsn)
    texts: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        texts["context"] = shown(await app._context(settings, Metrics(), stack))
    async with opened(settings, list(Lane)) as parts:
        texts["parts"] = shown(parts)
        texts["activities"] = "\n".join(shown(activity) for activity in activities_of(parts).values())
        owners = [getattr(activity, "__self__", None) for activity in activities_of(parts).values()]
        texts["held by activities"] = "\n".join(map(shown, owners))
        texts["client of Valkey"] = repr(parts.limiter._client) + repr(parts.limiter._client.connection_pool)
        texts["providers"] = "\n".join(shown(provider) for provider in parts.providers.values())
    assert all(texts.values())
    assert {name: found for name, text in texts.items() if (found := seen_in(text))} == {}


def test_dataclasses_do_not_show_the_secrets_that_they_hold() -> None:
    """A field with such a name, and in clear, has `repr=False`."""
    named = re.compile(r"secrets?|password|api_key|fingerprint_keys|key|private_key|dsn")
    not_secret = {"Caller.key"}
    shows = [
        f"{path.relative_to(ROOT)}: {owner.name}.{line.target.id}"
        for path in ROOT.glob("[a-z]*/**/*.py")
        if path.relative_to(ROOT).parts[0] not in ("tests", "bench", "simulators", "devstack")
        for owner in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(owner, ast.ClassDef)
        and any("dataclass" in ast.unparse(decorator) for decorator in owner.decorator_list)
        for line in owner.body
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and named.fullmatch(line.target.id)
        and re.search(r"\b(str|bytes)\b", ast.unparse(line.annotation))
        and "repr=False" not in (ast.unparse(line.value) if line.value else "")
        and f"{owner.name}.{line.target.id}" not in not_secret
    ]
    assert shows == []
