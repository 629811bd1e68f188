"""All providers of a channel are down: retries on schedule, dead letters, expiry."""

import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from devstack.scenarios.case import Case, ScenarioAborted
from devstack.scenarios.scenario import Scenario

DOWN = ("twilio", "termii")
TRIES = 5
_METRIC = 'herald_dead_letters_total{channel="sms",type="debit_alert"}'


async def dead_lettered(case: Case) -> None:
    to = case.phone()
    counted_before = await _dead_letters(case)
    await _all_down(case, to)
    id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
    await case.becomes(id, "dead_lettered")
    attempts = await case.api.attempts(id)
    _expect_on_schedule(case, attempts)
    case.expect(not await case.received(), "a message was received while all providers were down")

    await _expect_alert(case, id, counted_before)
    request = {"filter": {"type": "debit_alert", "channel": "sms"}}
    dry_run = await case.api.post("/dead-letters/replay", {**request, "dry_run": True})
    case.expect(dry_run.body["matched"] == 1, f"the replay's dry run returned {dry_run.body}")
    for vendor in DOWN:
        await case.vendors.heal(vendor, to)
    replay = await case.api.post("/dead-letters/replay", {**request, "dry_run": False})
    case.expect(replay.body["replayed"] == 1, f"the replay returned {replay.body}")
    await case.becomes(id, "delivered")
    case.note("dead_lettered, alert raised, replayed")
    await case.expect_received(twilio=1)


async def expired(case: Case) -> None:
    to = case.phone()
    await _all_down(case, to)
    schedule_s = _schedule_s(case, "price_alert")
    for _ in range(TRIES):
        # During the wait for the last pass: several have failed by then, even if the first starts late.
        at = datetime.now(UTC) + timedelta(seconds=sum(schedule_s) - 1)
        id = await case.accepted("price_alert", ["sms"], to={"sms": to}, expires_at=at.isoformat())
        await case.becomes(id, "expired")
        case.expect(datetime.now(UTC) >= at, "it expired before its time")
        if attempts := len(await case.api.attempts(id)):
            break
        # The machine was too busy for a single pass, which says nothing about sending afterwards.
    else:
        raise ScenarioAborted(f"{TRIES} in a row expired before their first attempt")
    for vendor in DOWN:
        await case.vendors.heal(vendor, to)
    await case.receives_nothing_more(max(schedule_s) * 1.25)
    case.expect(len(await case.api.attempts(id)) == attempts, "there were attempts after it expired")
    await case.expect_received()


async def _all_down(case: Case, to: str) -> None:
    for vendor in DOWN:
        await case.vendors.fault(vendor, "status", to, status=503)


def _schedule_s(case: Case, type: str) -> Sequence[float]:
    """The type's retry schedule in the stack's configuration, in seconds."""
    with open(case.stack.environment["HERALD_CONFIG"], "rb") as file:
        return tomllib.load(file)["types"][type]["retry_s"]


def _expect_on_schedule(case: Case, attempts: Sequence[Mapping[str, Any]]) -> None:
    """Expect every provider in every pass, and at least the scheduled wait between passes."""
    schedule_s = _schedule_s(case, "debit_alert")
    found = [(attempt["pass_number"], attempt["provider"]) for attempt in attempts]
    wanted = [(pass_number, vendor) for pass_number in range(len(schedule_s) + 1) for vendor in DOWN]
    case.expect(found == wanted, f"passes: {found}, expected {wanted}")
    waits: list[str] = []
    for before, after in itertools.pairwise(attempts):
        if after["pass_number"] == before["pass_number"]:
            continue
        waited_s = (_time(after["intended_at"]) - _time(before["closed_at"])).total_seconds()
        least_s = schedule_s[before["pass_number"]]
        # The API truncates times to milliseconds.
        case.expect(waited_s >= least_s - 0.001, f"a pass came after {waited_s:.3f} s instead of {least_s} s")
        waits.append(f"{waited_s:.1f}")
    case.note(f"passes {', '.join(waits)} s apart")


async def _expect_alert(case: Case, id: str, counted_before: float) -> None:
    """Expect an alert (an ERROR event) in the worker's log, a higher metric, and an entry in the timeline."""
    events = [event for event in _log(case, "worker") if event.get("notification_id") == id]
    alerts = [e for e in events if e.get("alert") is True and e["event"] == "dead_lettered"]
    case.expect([e["level"] for e in alerts] == ["error"], f"alerts in the worker's log: {alerts}")
    counted = await _dead_letters(case)
    case.expect(counted == counted_before + 1, f"{_METRIC} went from {counted_before} to {counted}")
    kinds = [entry["kind"] for entry in await case.api.timeline(id)]
    case.expect("dead_lettered" in kinds, f"the timeline has {kinds}")


def _log(case: Case, part: str) -> list[dict[str, Any]]:
    lines = (case.stack.logs / f"{part}.log").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


async def _dead_letters(case: Case) -> float:
    """The value of the worker's metric."""
    url = f"http://127.0.0.1:{case.stack.ports.worker_metrics}/metrics"
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        text = (await client.get(url)).raise_for_status().text
    values = [line.removeprefix(_METRIC) for line in text.splitlines() if line.startswith(_METRIC)]
    return float(values[0]) if values else 0.0


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


DEAD_LETTERED = Scenario(
    10,
    "all SMS providers are down",
    "retried on schedule, dead letter, alert; replayed after recovery: delivered",
    dead_lettered,
)
EXPIRED = Scenario(14, "expires before a provider recovers", "expired; nothing sent afterwards", expired)
