"""Run the `herald` command, and move notifications to statuses that only workers set."""

import asyncio
import contextlib
import json
import os
import pty
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from domain.reasons import Reason
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.records import DeliveryUpdate, Intent

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 60


@dataclass(frozen=True)
class CompletedCommand:
    """The exit code and output of a command, which must not contain a traceback."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.out + self.err, self.err

    @property
    def json(self) -> Any:
        """Its output, parsed as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Herald:
    """The command in an environment."""

    server: ClassVar[socket.socket]
    """To the process that runs the commands (fork_server.py)."""
    environment: Mapping[str, str]

    async def __call__(self, *arguments: str, stdin: str = "", **changes: str | None) -> CompletedCommand:
        """Run the command. `changes` are environment variables that differ; None removes one."""
        environment = {k: v for k, v in {**self.environment, **changes}.items() if v is not None}
        request = json.dumps([arguments, environment]).encode()
        (input_, our_input), (our_out, out), (our_err, err), (our_code, code) = (os.pipe() for _ in range(4))
        theirs = (input_, out, err, code)
        socket.send_fds(self.server, [request], theirs)
        for file in theirs:
            os.close(file)
        async with asyncio.timeout(TIMEOUT_S):
            _, shown, said, ended = await asyncio.gather(
                asyncio.to_thread(_write, our_input, stdin), *map(_read, (our_out, our_err, our_code))
            )
        return CompletedCommand(int(ended), shown, said)

    async def send(self, *arguments: str, user: str = "ada", type: str = "price_alert") -> dict[str, Any]:
        """Submit an SMS and return the API's response."""
        to = ("-c", "sms", "--to", "+2348031236789", "--body", "Bitcoin is at 100,000.")
        ran = await self("send", "--user", user, "--type", type, *to, "--json", *arguments)
        assert ran.code == 0, ran.err
        return ran.json


async def _read(file: int) -> str:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(file, "rb")
    )
    try:
        return (await reader.read()).decode()
    finally:
        transport.close()


def _write(file: int, text: str) -> None:
    # The command need not read it.
    with contextlib.suppress(BrokenPipeError), open(file, "w", encoding="utf-8") as pipe:
        pipe.write(text)


@dataclass(frozen=True)
class WorkerActions:
    """Change deliveries as workers do."""

    ledger: Ledger

    async def update(self, id: str, after: Transition) -> None:
        """Apply a transition to every delivery of the notification."""
        notification = await self.ledger.load(UUID(id))
        assert notification is not None
        for delivery in notification.deliveries:
            assert await self.ledger.update(
                DeliveryUpdate(notification.id, delivery.id, delivery.version, after)
            )

    async def intend(self, id: str) -> None:
        """Open an attempt of the notification's only delivery."""
        notification = await self.ledger.load(UUID(id))
        assert notification is not None
        (delivery,) = notification.deliveries
        intent = Intent(
            notification_id=notification.id,
            delivery_id=delivery.id,
            version=delivery.version,
            provider="twilio",
            budget_s=10,
            visibility_delay_s=30,
            suppression_key="+2348031236789",
            target_masked="+234•••••6789",
            selection={},
            required=False,
        )
        assert await self.ledger.intend(intent) is not None

    async def park(self, id: str, status: Status = Status.DEAD_LETTERED) -> None:
        """Park the notification: its retry schedule is exhausted."""
        at = await self.at(14 * 86_400)
        await self.update(id, Transition(status, at, Reason.PROVIDERS_EXHAUSTED, event=status.value))

    async def defer(self, id: str, seconds: float, reason: Reason) -> None:
        """Defer the notification for `seconds` from now, which may be negative."""
        at = await self.at(seconds)
        await self.update(id, Transition(Status.DEFERRED, at, reason, next_pass_at=at))

    async def at(self, seconds: float) -> Any:
        """The database's time in `seconds` from now."""
        now = await self.ledger.pool.fetchval("SELECT now()")
        return now + timedelta(seconds=seconds)


async def asked_on_a_terminal(environment: Mapping[str, str], reason: str) -> int:
    """The exit code of `herald keys create`, whose reason is typed once the command asks for it."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "keys", "create", "asked"),
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"Reason (for the audit log)" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 1000)
    os.write(ours, f"{reason}\n".encode())
    code = await process.wait()
    os.close(ours)
    return code
