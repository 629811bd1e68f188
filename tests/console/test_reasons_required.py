"""An installation that requires reasons: every command that acts is refused without one."""

from collections.abc import Iterator, Mapping

import pytest
import typer
from console_case import Herald, WorkerActions, asked_on_a_terminal
from typer.core import TyperGroup

import cli
from storage import api_keys
from storage.postgres import Pool
from storage.providers import set_status

COMMANDS = {
    "keys create": ("shop",),
    "keys revoke": ("{key}",),
    "providers drain": ("twilio",),
    "providers activate": ("twilio",),
    "dlq retry": ("{parked}",),
    "dlq discard": ("{parked}", "--yes"),
    "dlq replay": ("--type", "statement", "--send"),
}
"""Every command that acts, with arguments."""


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    return {"HERALD_AUDIT_REASON_REQUIRED": "true"}


def reasoned(command: object, *words: str) -> Iterator[str]:
    """The commands that take a reason for the audit log."""
    for name, inner in getattr(command, "commands", {}).items():
        if isinstance(inner, TyperGroup):
            yield from reasoned(inner, *words, name)
        elif any((option.help or "").startswith("Why, for the audit log") for option in inner.params):
            yield " ".join((*words, name))


async def state(pool: Pool) -> list[str]:
    """What the commands would change."""
    rows = await pool.fetch(
        "SELECT 'entry ' || sequence AS row FROM audit_log"
        " UNION ALL SELECT prefix || coalesce(revoked_at::text, '') FROM api_keys"
        " UNION ALL SELECT name || status FROM providers"
        " UNION ALL SELECT id || status::text FROM notifications ORDER BY 1"
    )
    return [row["row"] for row in rows]


def test_every_command_that_takes_a_reason_is_tried() -> None:
    assert set(reasoned(typer.main.get_command(cli.app))) == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_without_a_reason_is_refused(
    run: Herald, workers: WorkerActions, pool: Pool, command: str
) -> None:
    parked = (await run.send(type="statement"))["id"]
    await workers.park(parked)
    key = (await api_keys.create(pool, "shop", "till")).split("_")[2]
    if command.startswith("providers"):
        await set_status(pool, "twilio", "active" if command.endswith("drain") else "drained")
        run = Herald({**run.environment, "HERALD_API_KEY": await api_keys.create(pool, None, "operator")})
    words = [word.format(parked=parked, key=key) for word in (*command.split(), *COMMANDS[command])]
    before = await state(pool)
    for given in ((), ("--reason", ""), ("--reason", "  ")):
        refused = await run(*words, *given)
        assert (refused.code, refused.out, "--reason" in refused.err) == (1, "", True), refused.err
    assert await state(pool) == before
    done = await run(*words, "--reason", "ticket 4711")
    assert done.code == 0, done.err
    entry = await pool.fetchrow("SELECT reason FROM audit_log ORDER BY sequence DESC LIMIT 1")
    assert entry is not None
    assert entry["reason"] == "ticket 4711"
    assert len(await state(pool)) > len(before)


async def test_nothing_typed_on_the_terminal_is_no_reason(environment: Mapping[str, str], pool: Pool) -> None:
    before = await state(pool)
    assert await asked_on_a_terminal(environment, "") == 1
    assert await state(pool) == before
