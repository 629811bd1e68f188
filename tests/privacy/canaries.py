"""Unmistakable private values (canaries), and the places to search for them."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from google.protobuf.json_format import MessageToDict
from temporalio.client import Client

from devstack.stack import Stack
from simulators import webpush

# Where contacts and contents belong.
LEDGER_OF_PRIVATE_THINGS = frozenset({"notification_contents", "users", "devices", "suppressions", "replies"})


@dataclass(slots=True)
class Canaries:
    """The canaries of one run; each has one spelling by which it is found in any notation."""

    spellings: dict[str, str] = field(default_factory=dict[str, str])
    _count: int = 0

    def phone(self) -> str:
        """A valid number; recognised by its last eight digits, of which a mask shows four."""
        digits = f"{self._next():02d}704931"
        self.spellings[f"phone {digits}"] = digits
        return f"+23480{digits}"

    def email(self) -> str:
        """An email address; recognised by its local part."""
        local = f"canary-mail-{self._next():02d}-zqx"
        self.spellings[local] = local
        return f"{local}@canary-domain.example"

    def fcm_token(self, prefix: str = "") -> str:
        """An FCM device token; FCM's simulator gives some prefixes a meaning."""
        token = f"canary-token-{self._next():02d}-{'q' * 24}"
        self.spellings[token] = token
        return prefix + token

    def apns_token(self) -> str:
        """An APNs device token."""
        token = f"{self._next():02d}c0ffee" * 8
        self.spellings[token] = token
        return token

    def browser(self) -> dict[str, Any]:
        """A browser's subscription; recognised by the unique part of its endpoint and by its keys."""
        id = f"canary-browser-{self._next():02d}"
        subscription = webpush.subscription(id)
        for secret in (id, *subscription["keys"].values()):
            self.spellings[f"{id}: {secret}"] = secret
        return subscription

    def word(self, what: str) -> str:
        """A unique text."""
        word = f"canary{what}{self._next():02d}zqx"
        self.spellings[word] = word
        return word

    def code(self) -> str:
        """A one-time code."""
        code = f"{self._next():02d}615243"
        self.spellings[f"code {code}"] = code
        return code

    def known(self, name: str, value: str) -> None:
        """Add an existing value."""
        self.spellings[name] = value

    def seen_in(self, places: Mapping[str, str]) -> list[str]:
        """Which canary was found in which place."""
        lowered = {place: text.lower() for place, text in places.items()}
        return sorted(
            f"{name} in {place}"
            for name, spelling in self.spellings.items()
            for place, text in lowered.items()
            if spelling.lower() in text
        )

    def _next(self) -> int:
        self._count += 1
        return self._count


async def histories(stack: Stack) -> dict[str, str]:
    """Every workflow as Temporal shows it, its history with all payloads decoded, by workflow ID."""
    client = await Client.connect(stack.description["temporal_address"])
    found: dict[str, str] = {}
    async for listed in client.list_workflows():
        handle = client.get_workflow_handle(listed.id, run_id=listed.run_id)
        history = (await handle.fetch_history()).to_json_dict()
        described = MessageToDict((await handle.describe()).raw_description)
        text = json.dumps([history, described], ensure_ascii=False)
        found[f"history of {listed.id}"] = "\n".join([text, *_decoded([history, described])])
    return found


def written(stack: Stack) -> dict[str, str]:
    """Every log, and every file of Temporal and Valkey."""
    root = stack.logs.parent
    paths = [
        path
        for directory in (stack.logs, root / "temporal", root / "valkey")
        for path in directory.rglob("*")
        if path.is_file()
    ]
    return {str(path.relative_to(root)): path.read_bytes().decode("utf-8", "replace") for path in paths}


def command_lines(stack: Stack) -> dict[str, str]:
    """The command lines of the stack's processes, which every user of the machine can read."""
    pids = [pid for pid in stack.description["pids"].values() if pid]
    return {f"command line of {pid}": Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}


async def measured(stack: Stack) -> dict[str, str]:
    """The metrics of every process."""
    ports = stack.ports
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return {
            f"metrics at {port}": (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            for port in (ports.api, ports.callbacks, ports.worker_metrics, ports.worker_critical_metrics)
        }


async def tables(ledger: "asyncpg.Pool[asyncpg.Record]", *, private: bool) -> dict[str, str]:
    """Every table's rows as text: the tables meant for private data, or all the others."""
    names = [
        row["tablename"]
        for row in await ledger.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        if any(row["tablename"].startswith(own) for own in LEDGER_OF_PRIVATE_THINGS) is private
    ]
    return {
        f"table {name}": "\n".join(row[0] for row in await ledger.fetch(f'SELECT t::text FROM "{name}" t'))
        for name in names
    }


def _decoded(value: Any) -> Iterator[str]:
    """The clear text of every payload in it."""
    if isinstance(value, Mapping):
        data = value.get("data")
        if isinstance(data, str):
            clear = base64.b64decode(data).decode("utf-8", "replace")
            # JSON may escape any character.
            with suppress(ValueError):
                clear = json.dumps(json.loads(clear), ensure_ascii=False)
            yield clear
        value = value.values()
    elif not isinstance(value, list):
        return
    children: Iterable[Any] = value
    for child in children:
        yield from _decoded(child)
