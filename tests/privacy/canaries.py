"""Private values that can be told from everything else, and where to look for them."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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
    """Values of one run, each found by one spelling however it is written elsewhere."""

    spellings: dict[str, str] = field(default_factory=dict[str, str])
    _count: int = 0

    def phone(self) -> str:
        """A number that can be dialled; told by its last eight digits, of which a mask shows four."""
        digits = f"{self._next():02d}704931"
        self.spellings[f"phone {digits}"] = digits
        return f"+23480{digits}"

    def email(self) -> str:
        """An address; told by its local part."""
        local = f"canary-mail-{self._next():02d}-zqx"
        self.spellings[local] = local
        return f"{local}@canary-domain.example"

    def fcm_token(self, prefix: str = "") -> str:
        """FCM's simulator knows some prefixes."""
        token = f"canary-token-{self._next():02d}-{'q' * 24}"
        self.spellings[token] = token
        return prefix + token

    def apns_token(self) -> str:
        """A device token of APNs."""
        token = f"{self._next():02d}c0ffee" * 8
        self.spellings[token] = token
        return token

    def browser(self) -> dict[str, Any]:
        """A browser's subscription; told by what tells its endpoint from others, and by its keys."""
        id = f"canary-browser-{self._next():02d}"
        subscription = webpush.subscription(id)
        for secret in (id, *subscription["keys"].values()):
            self.spellings[f"{id}: {secret}"] = secret
        return subscription

    def word(self, what: str) -> str:
        """A text of its own."""
        word = f"canary{what}{self._next():02d}zqx"
        self.spellings[word] = word
        return word

    def code(self) -> str:
        """A one-time code."""
        code = f"{self._next():02d}615243"
        self.spellings[f"code {code}"] = code
        return code

    def known(self, name: str, value: str) -> None:
        """A value that exists already."""
        self.spellings[name] = value

    def seen_in(self, places: Mapping[str, str]) -> list[str]:
        """Which canary stands where."""
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
    """Every log, and every file of Temporal's and Valkey's."""
    root = stack.logs.parent
    paths = [
        path
        for directory in (stack.logs, root / "temporal", root / "valkey")
        for path in directory.rglob("*")
        if path.is_file()
    ]
    return {str(path.relative_to(root)): path.read_bytes().decode("utf-8", "replace") for path in paths}


async def measured(stack: Stack) -> dict[str, str]:
    """The metrics of every process."""
    ports = stack.ports
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return {
            f"metrics at {port}": (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            for port in (ports.api, ports.callbacks, ports.worker_metrics, ports.worker_critical_metrics)
        }


async def tables(ledger: "asyncpg.Pool[asyncpg.Record]", *, private: bool) -> dict[str, str]:
    """Every table's rows as text: the tables where private things belong, or all the others."""
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
            # JSON may write any letter as an escape.
            with suppress(ValueError):
                clear = json.dumps(json.loads(clear), ensure_ascii=False)
            yield clear
        value = value.values()
    elif not isinstance(value, list):
        return
    children: Iterable[Any] = value
    for child in children:
        yield from _decoded(child)
