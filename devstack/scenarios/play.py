"""Plays scenarios, and sums up what came of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from uuid import UUID

import httpx

from devstack.scenarios.case import Case, Stage, Unexpected, counted
from devstack.scenarios.scenario import Result, Scenario
from devstack.scenarios.waiting import NotInTime
from domain.ids import workflow_id

_LINKS_MAX = 4

Told = Callable[[Scenario, Result], None]


async def play_all(stage: Stage, scenarios: Sequence[Scenario], told: Told) -> dict[int, Result]:
    """Play scenarios side by side, and one after the other those that need the stack for themselves.

    `told` hears of each as it ends. Results by number, in order.
    """
    cases: dict[int, Case] = {}
    results: dict[int, Result] = {}

    async def one(scenario: Scenario) -> None:
        case = cases[scenario.number] = Case(scenario.number, stage)
        results[scenario.number] = result = await play(scenario, case)
        told(scenario, result)

    await asyncio.gather(*(one(scenario) for scenario in scenarios if not scenario.alone))
    for scenario in scenarios:
        if scenario.alone:
            await one(scenario)
    return {number: await _still(results[number], cases[number]) for number in sorted(results)}


async def play(scenario: Scenario, case: Case) -> Result:
    """Play one scenario to its end, whatever happens; what was not met is in the result."""
    started = time.monotonic()
    try:
        await scenario.run(case)
    except (NotInTime, Unexpected) as error:
        case.why_not.append(str(error))
    except Exception as error:
        # Also a bug of the scenario itself: its row says so, and the others go on.
        case.why_not.append(f"{type(error).__name__}: {error}")
    return await _result(case, time.monotonic() - started)


async def _still(result: Result, case: Case) -> Result:
    """The result, with what was received too much since the scenario ended."""
    known = len(case.why_not)
    await case.check_received()
    if len(case.why_not) == known or not result.as_expected:
        return result
    return await _result(case, result.took_s)


async def _result(case: Case, took_s: float) -> Result:
    try:
        rest, attempts = await _rest(case), await _attempts(case)
        received = await _received(case)
        links = await _links(case)
    except httpx.HTTPError as error:
        case.why_not.append(f"the stack does not answer any more ({type(error).__name__})")
        return Result("", "", "", tuple(case.why_not), (), 0, took_s)
    more = len(case.notifications) - len(links)
    return Result(rest, received, attempts, tuple(case.why_not), links, more, took_s)


async def _rest(case: Case) -> str:
    views = await asyncio.gather(*(case.api.notification(id) for id in case.notifications))
    statuses = [_status(view["status"], view["reason_code"]) for view in views]
    answers = grouped(str(status) for status in case.answers)
    return "; ".join([f"{answers} → {grouped(statuses)}", *case.notes])


async def _attempts(case: Case) -> str:
    stories = await asyncio.gather(*(case.api.attempts(id) for id in case.notifications))
    return "\n".join(_each(_story(story) for story in stories))


async def _received(case: Case) -> str:
    processed = counted(Counter(name for name, _ in await case.received()))
    refused = await case.refused()
    return f"{processed}; refused by {counted(refused)}" if refused.total() else processed


def _status(status: str, reason: str | None) -> str:
    return status if reason in (None, status) else f"{status} ({reason})"


def _story(attempts: Iterable[Mapping[str, object]]) -> str:
    """The attempts in order; passes that went alike are counted, not repeated."""
    passes = [
        " → ".join(_attempt(attempt) for attempt in same_pass)
        for _, same_pass in groupby(attempts, key=lambda attempt: attempt["pass_no"])
    ]
    told = [(went, len(list(alike))) for went, alike in groupby(passes)]
    return " → ".join(went if count == 1 else f"{count} × ({went})" for went, count in told) or "none"


def _attempt(attempt: Mapping[str, object]) -> str:
    outcome = str(attempt["outcome"] or "open")
    if attempt["resolved_by"] not in (None, "response"):
        outcome += f" (by {attempt['resolved_by']})"
    elif attempt["outcome"] != "accepted" and attempt["code"] not in (None, attempt["outcome"]):
        outcome += f" ({attempt['code']})"
    return f"{attempt['provider']} {outcome}"


async def _links(case: Case) -> tuple[tuple[str, str | None], ...]:
    """The Web UI's paths of the first notifications' workflows, asked of the Web UI itself."""
    links: list[tuple[str, str | None]] = []
    async with httpx.AsyncClient(
        base_url=case.stack.description["temporal_ui_url"], trust_env=False, timeout=10
    ) as client:
        for id in case.notifications[:_LINKS_MAX]:
            path = f"namespaces/default/workflows/{workflow_id(UUID(id))}"
            found = await client.get(f"/api/v1/{path}")
            links.append((id, f"/{path}" if found.is_success else None))
    return tuple(links)


def grouped(words: Iterable[str]) -> str:
    """Words in order of their first appearance, equal ones counted: `202, 19 × 200`."""
    return ", ".join(_each(words))


def _each(words: Iterable[str]) -> list[str]:
    return [word if count == 1 else f"{count} × {word}" for word, count in Counter(words).items()]
